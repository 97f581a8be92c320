import type { SNSClient } from '@aws-sdk/client-sns';
import pino, { type Logger } from 'pino';
import { expect, onTestFinished, vi } from 'vitest';
import type { Channel } from '../../src/channels.ts';
import { createDatabase, type Database } from '../../src/database.ts';
import { acceptNotification } from '../../src/notifications/accept.ts';
import { createCountQueue } from '../../src/notifications/count-queue.ts';
import { type DispatcherDeps, dispatchNext } from '../../src/notifications/dispatcher.ts';
import { createFaultLog } from '../../src/notifications/fault-log.ts';
import type { Governor } from '../../src/notifications/governor.ts';
import type { NotificationInput } from '../../src/notifications/input-schema.ts';
import { createMeasures } from '../../src/notifications/measures.ts';
import { createPublisher } from '../../src/notifications/publisher.ts';
import type { NotificationResource } from '../../src/notifications/schemas.ts';
import { getNotification } from '../../src/notifications/service.ts';
import { createTestDatabase } from './database.ts';

export const CALLER = 'key:billing';
export const ACTOR = { principal: CALLER, requestId: null };
export const TOPIC_ARN = 'arn:aws:sns:us-east-1:000000000000:notifications';

/** Never aborted: for a dispatch that nobody stops. */
export const UNSTOPPED = new AbortController().signal;

/** Lets everything go at once. */
export const UNGOVERNED: Governor = {
  batchMax: 10,
  admit: async (_messages, signal) => signal.throwIfAborted(),
  report: () => undefined,
};

/** As much as there are numbers for. */
const UNLIMITED = { broadcastsPerHour: 1_000_000, recipientsPerDay: null };

/** A database for the tests of a file. Each call of what this returns is another client on it, that ends with its test. */
export async function openTestDatabase(): Promise<(poolMax?: number) => Database> {
  const url = await createTestDatabase();
  return (poolMax = 5) => {
    const db = createDatabase({ url, poolMax });
    onTestFinished(() => db.$disconnect());
    return db;
  };
}

/**
 * Forgets every user and notification of earlier tests. Deletes them, as a truncation waits for whole tables, in a circle
 * with a dispatcher that looks for work.
 */
export async function emptyDatabase(db: Database): Promise<void> {
  await db.$executeRaw`
    with users as (delete from users), preferences as (delete from preferences) delete from notifications`;
}

const LASTING = { pageUsers: 500, leaseSeconds: 60, recipientsPerMessage: 1 };

/** What the dispatcher needs, on a given SNS. Leases outlast every test, unless it says otherwise. */
export function createDeps(
  {
    db,
    sns,
    topicArn = TOPIC_ARN,
    governor = UNGOVERNED,
  }: { db: Database; sns: SNSClient; topicArn?: string; governor?: Governor },
  overrides: Partial<DispatcherDeps> = {},
): DispatcherDeps {
  const { log } = createLog();
  const measures = createMeasures();
  const publisher = createPublisher({ sns, topicArn, concurrency: 8, governor, measures, log, probeIntervalMs: 10 });
  return { db, publisher, log, faults: createFaultLog(log), measures, ...LASTING, ...overrides };
}

/** A log, and its lines so far. */
export function createLog(): { log: Logger; lines: { level: number; msg: string }[] } {
  const lines: { level: number; msg: string }[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { log, lines };
}

/** Accepts a notification; without `user_ids` to everyone. Returns its id. */
export async function accept(db: Database, input: Partial<NotificationInput> = {}): Promise<string> {
  const origin = { actor: ACTOR, allowances: UNLIMITED, idempotencyKey: undefined, traceparent: undefined };
  const { notification } = await acceptNotification(
    db,
    { payload: 'Your statement is ready', ...input },
    { ...origin, signal: UNSTOPPED, countInTurn: createCountQueue() },
  );
  return notification.id;
}

/** Dispatches page after page until nothing is due. Returns the number of steps. */
export async function dispatchAll(deps: DispatcherDeps): Promise<number> {
  let steps = 0;
  while (await dispatchNext(deps, UNSTOPPED)) steps += 1;
  return steps;
}

/** Adds users who are told on the given channels, each at an address of their own. */
export async function addUsers(db: Database, user_ids: number[], on: Channel[] = ['email']): Promise<void> {
  const [email_enabled, sms_enabled] = [on.includes('email'), on.includes('sms')];
  await db.user.createMany({ data: user_ids.map((user_id) => ({ user_id, ...addressesOf(user_id) })) });
  await db.preference.createMany({ data: user_ids.map((user_id) => ({ user_id, email_enabled, sms_enabled })) });
}

const addressesOf = (user_id: number) => ({
  email: `user${user_id}@example.com`,
  phone: `+1555${user_id + 1_000_000}`,
});

/** Whole numbers from `first` to `last`. */
export function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

/** Lets the lease of every open page run out, as if its owner had been silent for that long. */
export async function expireLeases(db: Database): Promise<void> {
  await db.$executeRaw`update pages set lease_until = now() - interval '1 second' where state = 'open'`;
}

/** Waits until a notification is completed, canceled or expired with no page open, and returns it. */
export async function untilEnded(db: Database, id: string): Promise<NotificationResource> {
  return vi.waitFor(
    async () => {
      const notification = await getNotification(db, id, null);
      expect(notification.progress).toBe(1);
      expect(notification.completed_at).not.toBeNull();
      return notification;
    },
    { timeout: 20_000, interval: 10 },
  );
}

/** Holds the accounting invariant, in whatever state a notification is, and returns its counts. */
export async function readCounts(db: Database, id: string): Promise<NotificationResource['counts']> {
  const { counts } = await getNotification(db, id, null);
  const { targeted, published, suppressed, failed, pending } = counts;
  expect(targeted).toBe(published + sum(Object.values(suppressed)) + failed + pending);
  expect(Math.min(pending, published, failed, ...Object.values(suppressed))).toBeGreaterThanOrEqual(0);
  return counts;
}

const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);

/** Repeats a check until it passes: what it waits for takes milliseconds, but the machine may be busy. */
export const eventually = (check: () => unknown): Promise<unknown> => vi.waitFor(check, { timeout: 15_000 });
