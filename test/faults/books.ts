import { readExpected, readReasons } from './audience.ts';
import { type Account, checkDeliveries, type Expected, keyOf } from './checker.ts';
import type { Entry } from './oracle.ts';
import type { Rig } from './rig.ts';

/** What a row comes to, when everything it started has ended. */
export type Books = Account & {
  /** Where the service's own counts, lists and states are not what the journal says, in words. */
  disagreements: string[];
};

type Options = {
  /** Who is not to be told after all, as SNS refuses them for good. */
  refused?: (user_id: number) => boolean;
  /** Corrects what is expected, where users changed their minds meanwhile. Then reasons are not compared. */
  adjust?: (expected: Expected) => void;
};

/** What of a row the books are about. */
type Accounted = Pick<Rig, 'sql' | 'oracle' | 'users' | 'promised' | 'imbalances'>;

/** Holds everything that was promised in a row against the journal, and the service's counts against both. */
export async function closeBooks(rig: Accounted, { refused = () => false, adjust }: Options = {}): Promise<Books> {
  const expected = await readExpected(rig.sql, rig.promised);
  for (const key of [...expected.keys()]) if (refused(Number(key.split('/')[1]))) expected.delete(key);
  adjust?.(expected);
  const account = checkDeliveries(expected, rig.oracle.journal, await readTakenOver(rig, expected));
  const journal = tallyJournal(rig.oracle.journal);
  const [counts, manifest] = await Promise.all([readCounts(rig), readManifest(rig)]);
  const reasons = adjust === undefined ? await readReasons(rig.sql) : null;
  const disagreements = [
    ...rig.imbalances,
    ...[...rig.promised.keys()].filter((id) => !counts.has(id)).map((id) => `${id}: promised, and not there`),
    ...[...counts].flatMap(([id, count]) =>
      compareCounts(rig, { id, count, reasons, refused, journal: journal.get(id) }),
    ),
    ...manifest
      .filter((sent) => !journal.get(sent.notification_id)?.ids.has(`${sent.user_id} ${sent.message_id}`))
      .map((sent) => `${keyOf(sent)}: listed as sent, and SNS has no such message`),
  ];
  return { ...account, disagreements };
}

/** The users of pages that more than one process had. */
async function readTakenOver({ sql }: Accounted, expected: Expected): Promise<Set<string>> {
  type Row = { notification_id: string; first_user_id: number; last_user_id: number };
  const { rows } = await sql.query<Row>(
    'select notification_id, first_user_id, last_user_id from pages where attempt > 1',
  );
  const takenOver = new Set<string>();
  for (const { notification_id, first_user_id, last_user_id } of rows) {
    for (let user_id = first_user_id; user_id <= last_user_id; user_id++) {
      const key = keyOf({ notification_id, user_id });
      if (expected.has(key)) takenOver.add(key);
    }
  }
  return takenOver;
}

/** What SNS accepted of a notification. */
type Tally = { users: Map<number, string>; ids: Set<string> };

function tallyJournal(journal: Entry[]): Map<string, Tally> {
  const tallies = new Map<string, Tally>();
  for (const { notification_id, user_id, told, message_id } of journal) {
    if (message_id === null) continue;
    const tally = tallies.get(notification_id) ?? { users: new Map(), ids: new Set() };
    tallies.set(notification_id, tally);
    tally.users.set(user_id, told);
    tally.ids.add(`${user_id} ${message_id}`);
  }
  return tallies;
}

type Count = {
  status: string;
  targeted: number;
  published: number;
  failed: number;
  open_pages: number;
  completions: number;
  suppressed: Record<string, number>;
  by_channel: Record<string, number>;
};

async function readCounts({ sql }: Accounted): Promise<Map<string, Count>> {
  const { rows } = await sql.query<Count & { id: string }>(`
    select id, status, targeted, published, failed, open_pages, suppressed, by_channel,
      (select count(*)::int from witness where event = 'completed' and notification_id = id) as completions
    from notifications`);
  return new Map(rows.map(({ id, ...count }) => [id, count]));
}

type Sent = { notification_id: string; user_id: number; message_id: string };

async function readManifest({ sql }: Accounted): Promise<Sent[]> {
  const { rows } = await sql.query<Sent>(
    'select notification_id, unnest(user_ids) as user_id, unnest(message_ids) as message_id from pages',
  );
  return rows;
}

type Compared = {
  id: string;
  count: Count;
  reasons: Map<number, string> | null;
  refused: (user_id: number) => boolean;
  journal: Tally | undefined;
};

/** Every state that ended: completed once, nothing pending, and each count what the journal and the audience make it. */
function compareCounts({ promised, users }: Accounted, { id, count, reasons, refused, journal }: Compared): string[] {
  const audience = promised.get(id);
  if (audience === undefined) return [`${id}: stored, and promised to nobody`];
  const told = [...(journal?.users.values() ?? [])];
  const ids = audience ?? Array.from({ length: users }, (_, index) => index + 1);
  const failed = ids.filter((user_id) => refused(user_id) && reasons?.has(user_id) === false).length;
  const wanted: Record<string, number | string> = {
    ...{ status: 'completed', completions: 1, open_pages: 0, targeted: ids.length, published: told.length, failed },
    ...{ email: countWith(told, 'email='), sms: countWith(told, 'sms=') },
    ...(reasons !== null && countReasons(ids, reasons)),
  };
  const { suppressed, by_channel, ...rest } = count;
  const found: Record<string, number | string> = { ...{ email: 0, sms: 0 }, ...rest, ...by_channel, ...suppressed };
  const names = Object.keys(wanted).filter((name) => (found[name] ?? 0) !== wanted[name]);
  const sum = Object.values(suppressed).reduce((total, suppressedUsers) => total + suppressedUsers, 0);
  const isBalanced = count.targeted === count.published + count.failed + sum;
  return [
    ...names.map((name) => `${id}: ${name} is ${found[name] ?? 0} instead of ${wanted[name]}`),
    ...(isBalanced ? [] : [`${id}: its counts do not add up: ${JSON.stringify(count)}`]),
  ];
}

const countWith = (told: string[], channel: string) => told.filter((text) => text.includes(channel)).length;

function countReasons(ids: number[], reasons: Map<number, string>): Record<string, number> {
  const counts: Record<string, number> = { no_preferences: 0, opted_out: 0, no_contact: 0 };
  for (const id of ids) {
    const reason = reasons.get(id);
    if (reason !== undefined) counts[reason] = (counts[reason] ?? 0) + 1;
  }
  return counts;
}
