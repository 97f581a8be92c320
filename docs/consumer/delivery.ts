import type { Pool, PoolClient } from 'pg';
import type { Channel, Notification, Recipient } from './message.ts';

/**
 * Tells one recipient. What it does on `transaction` is done exactly once; what it does elsewhere is done at least once.
 * Rejects when the recipient was not told, to be called again later. `signal` is aborted when it has taken too long.
 */
export type Deliver = (
  recipient: Recipient,
  notification: Notification,
  within: { transaction: PoolClient; signal: AbortSignal },
) => Promise<void>;

export type Delivery = {
  recipient: Recipient;
  notification: Notification;
  channel: Channel;
  deliver: Deliver;
  /** The most that `deliver` may take. */
  limitMs: number;
};

/** `known`: somebody has told this recipient before, and committed it. */
export type Outcome = { kind: 'delivered' | 'known' } | { kind: 'failed'; error: unknown };

/** The server's own limits are a little longer than ours: they end the transaction of a process that hangs or is gone. */
const SERVER_MARGIN_MS = 1_000;

/**
 * Tells one recipient, unless that has been done: the row that remembers it and the effect are one transaction.
 *
 * @returns `failed` when `deliver` rejected or took too long. Then nothing has been written.
 * @throws what the database or the socket says, when the database is what failed. What became of a commit is not known then;
 *   the next call under the same key finds out.
 */
export async function deliverOnce(pool: Pool, delivery: Delivery): Promise<Outcome> {
  const client = await pool.connect();
  // Without a listener, a connection that breaks while `deliver` is at work elsewhere would end the process.
  client.on('error', ignore);
  let outcome: Outcome | undefined;
  try {
    outcome = await deliverIn(client, delivery);
    return outcome;
  } finally {
    client.off('error', ignore);
    // A connection whose transaction failed is closed, which rolls back, even if `deliver` still holds it.
    client.release(outcome === undefined || outcome.kind === 'failed');
  }
}

async function deliverIn(transaction: PoolClient, delivery: Delivery): Promise<Outcome> {
  const { recipient, notification, channel, deliver, limitMs } = delivery;
  await transaction.query(beginWithin(limitMs + SERVER_MARGIN_MS));
  // Waits while another consumer has the same key under way, and then finds its row, or that it has failed.
  const { rowCount } = await transaction.query({
    name: 'remember-delivery',
    text: `insert into deliveries (notification_id, user_id, channel) values ($1, $2, $3) on conflict do nothing`,
    values: [notification.notification_id, recipient.user_id, channel],
  });
  if (rowCount === 1) {
    try {
      await limit(limitMs, (signal) => deliver(recipient, notification, { transaction, signal }));
    } catch (error) {
      return { kind: 'failed', error };
    }
  }
  const { command } = await transaction.query('commit');
  // What PostgreSQL answers when a statement of `deliver` failed, and `deliver` went on regardless.
  if (command !== 'COMMIT') return { kind: 'failed', error: new Error('The transaction was rolled back.') };
  return { kind: rowCount === 1 ? 'delivered' : 'known' };
}

/** One round trip. Times are whole numbers of ours, so that they can stand in the text. */
function beginWithin(ms: number): string {
  return `begin; set local lock_timeout = ${ms}; set local statement_timeout = ${ms}; set local idle_in_transaction_session_timeout = ${ms}`;
}

/** Rejects when the work takes longer, whether or not it heeds its signal. */
function limit(ms: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const late = new AbortController();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      late.abort(new Error(`Took longer than ${ms} ms.`));
      reject(late.signal.reason);
    }, ms);
    work(late.signal)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}

const ignore = () => undefined;
