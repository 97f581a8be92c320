import type { Message, SQSClient } from '@aws-sdk/client-sqs';
import type { Pool } from 'pg';
import { type Deliver, deliverOnce } from './delivery.ts';
import { type Channel, readMessage } from './message.ts';
import { BATCH_MESSAGES, deleteMessages, holdWhile, pause, receiveMessages, releaseMessages } from './queue.ts';

export type ConsumerOptions = {
  /** Its client needs `throwOnRequestTimeout`: without it the SDK only warns of a call that hangs. */
  sqs: SQSClient;
  queueUrl: string;
  channel: Channel;
  /** With the tables of schema.sql, at least `concurrency` connections, `connectionTimeoutMillis` and `query_timeout`. */
  pool: Pool;
  deliver: Deliver;
  /** Is given ids only: no address, no text. */
  log: (text: string, ids: Record<string, unknown>) => void;
  /** Messages in hand at a time, each with one connection at most. */
  concurrency?: number;
  /** How long a message is this consumer's without a sign of life, and how long a failed one waits for its next try. */
  visibilitySeconds?: number;
  /** How long a call waits for messages. 20 is the most that SQS allows, and makes the fewest calls. */
  waitSeconds?: number;
  /** The most that `deliver` may take for one recipient, and about what a stop may take. */
  deliverLimitMs?: number;
};

type Consumer = Required<ConsumerOptions>;

const DEFAULTS = { concurrency: 10, visibilitySeconds: 30, waitSeconds: 20, deliverLimitMs: 5_000 };
/** While nothing works: from a second, doubled, to half a minute, which is how long a recovery may go unnoticed. */
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;

/**
 * Delivers what is in a channel's queue until it is stopped, whatever happens to SQS or the database meanwhile.
 * `stop` finishes the recipients in hand, gives the rest back to the queue, and resolves when nothing is left in hand.
 */
export function runConsumer(options: ConsumerOptions): { stop: () => Promise<void> } {
  const consumer: Consumer = { ...DEFAULTS, ...options };
  const stopping = new AbortController();
  // Once, for as long as there is the pool: without a listener, a connection that breaks while idle would end the process.
  consumer.pool.off('error', ignore).on('error', ignore);
  const loops = Math.ceil(consumer.concurrency / BATCH_MESSAGES);
  const perLoop = Math.floor(consumer.concurrency / loops);
  const running = Array.from({ length: loops }, () => consume(consumer, perLoop, stopping.signal));
  return {
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

/** One batch after the other. Never rejects. */
async function consume(consumer: Consumer, messagesMax: number, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      // Every receive counts towards the dead-letter queue: nothing is received that could not be recorded.
      if (failures > 0) await consumer.pool.query('select 1');
      failures = (await consumeNext(consumer, messagesMax, signal)) ? 0 : failures + 1;
    } catch (error) {
      if (signal.aborted) return;
      consumer.log('SQS or the database cannot be reached', describe(error));
      failures += 1;
    }
    if (failures > 0) await pause(backoffMs(failures), signal);
  }
}

/** Receives and delivers one batch. Tells whether that makes sense again at once: not when all it brought has failed. */
async function consumeNext(consumer: Consumer, messagesMax: number, signal: AbortSignal): Promise<boolean> {
  const messages = await receiveMessages(consumer, messagesMax, signal);
  const inHand = new Set(messages);
  const consumeInHand = async (message: Message) => {
    const outcome = await consumeMessage(consumer, message, signal);
    // Left alone, it comes back when its visibility timeout ends, or goes to the dead-letter queue.
    if (outcome !== 'done' && outcome !== 'stopped') inHand.delete(message);
    return outcome;
  };
  const onError = (error: unknown) => consumer.log('messages could not be held', describe(error));
  const outcomes = await holdWhile(consumer, { inHand, onError }, () => Promise.all(messages.map(consumeInHand)));
  const listBy = (wanted: Outcome) => messages.filter((_, index) => outcomes[index] === wanted);
  await deleteMessages(consumer, listBy('done'));
  await releaseMessages(consumer, listBy('stopped'));
  return !outcomes.includes('failed') || outcomes.some((outcome) => outcome === 'done' || outcome === 'partly');
}

/**
 * What became of a message. `done`: nobody is left to be told. `partly`: somebody was told, and somebody could not be.
 * `failed`: nobody could be told. `stopped`: some recipients were not begun.
 */
type Outcome = 'done' | 'partly' | 'failed' | 'unreadable' | 'stopped';

/**
 * Delivers a message to all its recipients, also when some of them fail: those who were told are remembered one by one, and
 * passed over when the message comes again.
 */
async function consumeMessage(
  { pool, channel, deliver, deliverLimitMs: limitMs, log }: Consumer,
  { MessageId: message_id, Body = '' }: Message,
  signal: AbortSignal,
): Promise<Outcome> {
  const reading = readMessage(Body, channel);
  if (reading.kind === 'unreadable') {
    log('a message cannot be read and is left for the dead-letter queue', { message_id, where: reading.where });
    return 'unreadable';
  }
  if (reading.kind === 'foreign') return 'done';

  const { notification, recipients } = reading;
  const counts = { delivered: 0, known: 0, failed: 0 };
  for (const recipient of recipients) {
    if (signal.aborted) return 'stopped';
    const { dedup_key } = recipient;
    try {
      const outcome = await deliverOnce(pool, { recipient, notification, channel, deliver, limitMs });
      counts[outcome.kind] += 1;
      if (outcome.kind !== 'failed') continue;
      log('a recipient could not be told', { message_id, dedup_key, ...describe(outcome.error) });
    } catch (error) {
      log('the database failed', { message_id, dedup_key, ...describe(error) });
      return 'failed';
    }
  }
  if (counts.failed === 0) return 'done';
  return counts.delivered > 0 ? 'partly' : 'failed';
}

/** A connection that breaks is replaced when it is needed. */
const ignore = () => undefined;

/** Half of it at random, so that consumers do not all come back at once. */
function backoffMs(failures: number): number {
  const ms = Math.min(BACKOFF_FIRST_MS * 2 ** (failures - 1), BACKOFF_MAX_MS);
  return ms * (0.5 + Math.random() / 2);
}

/** Messages of errors are left out: a provider's may repeat the address, and PostgreSQL's the row. */
function describe(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: typeof error };
  return { error: error.name, ...('code' in error && { code: error.code }) };
}
