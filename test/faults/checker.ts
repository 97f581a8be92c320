/** One message as SNS got it, or all that one message says to one user of it. */
export type Delivery = {
  notification_id: string;
  user_id: number;
  /** The channels and addresses of the user, like `email=a@example.com sms=+15550000001`. */
  told: string;
  /** The id by which SNS accepted it; null: attempted only. */
  message_id: string | null;
};

/** What every user of a row was to be told: `told` by `keyOf`. */
export type Expected = Map<string, string>;

/** The words are those of Jepsen. Each list has keys as `keyOf` makes them. */
export type Account = {
  /** Expected, and never accepted. */
  lost: string[];
  /** Accepted, and for nobody, or not at that address, or on another channel. */
  unexpected: string[];
  /** Every copy but the first of what was accepted. */
  duplicated: string[];
  /** Accepted, and not at the first try, or by a process that took its page over. */
  recovered: string[];
};

/** Names a user of a notification: with the channel, it is what consumers tell duplicates by. */
export const keyOf = ({ notification_id, user_id }: Pick<Delivery, 'notification_id' | 'user_id'>) =>
  `${notification_id}/${user_id}`;

/** Holds what SNS got against what it was to get. `takenOver` has the users of pages that more than one process had. */
export function checkDeliveries(expected: Expected, journal: Delivery[], takenOver: ReadonlySet<string>): Account {
  const attempts = new Map<string, number>();
  const copies = new Map<string, number>();
  const account: Account = { lost: [], unexpected: [], duplicated: [], recovered: [] };
  for (const delivery of journal) {
    const key = keyOf(delivery);
    attempts.set(key, (attempts.get(key) ?? 0) + 1);
    if (delivery.message_id === null) continue;
    const before = copies.get(key) ?? 0;
    if (expected.get(key) !== delivery.told) account.unexpected.push(key);
    else if (before > 0) account.duplicated.push(key);
    if (expected.get(key) === delivery.told) copies.set(key, before + 1);
  }
  for (const key of expected.keys()) {
    if (!copies.has(key)) account.lost.push(key);
    else if ((attempts.get(key) ?? 0) > 1 || takenOver.has(key)) account.recovered.push(key);
  }
  return account;
}
