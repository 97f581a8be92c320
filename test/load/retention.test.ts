import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createDatabase, type Database } from '../../src/database.ts';
import { runDispatcher } from '../../src/notifications/dispatcher.ts';
import { runRetention } from '../../src/notifications/retention.ts';
import { createTestDatabase } from '../support/database.ts';
import { accept, createDeps, createLog, readCounts } from '../support/dispatch.ts';
import { startSink } from '../support/sink.ts';

/** Old notifications: most to one user, and in the midst of them broadcasts of 500 users a page. */
const SMALL = 99_990;
const LARGE = { count: 10, pages: 300 };
/** Younger ones, which stay. */
const KEPT = 100;
const USERS = 100_000;
const PER_MESSAGE = 10;
/** What a call takes, so that the broadcast lasts about as long as the removal. */
const SNS_LATENCY_MS = 200;
const SAMPLE_INTERVAL_MS = 20;
/** The longest that a lock may be held. */
const LOCK_MAX_MS = 1_000;

let url: string;

beforeAll(async () => {
  url = await createTestDatabase();
  const admin = await connect();
  await storeUsers(admin);
  await storeSmall(admin, SMALL, '100 days');
  await storeSmall(admin, KEPT, '80 days');
  await storeLarge(admin);
  await admin.end();
});

/** Ends with its test; for one of a hook the caller ends it. */
async function connect(): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}

function open(): Database {
  const db = createDatabase({ url, poolMax: 5 });
  onTestFinished(() => db.$disconnect());
  return db;
}

async function storeUsers(admin: Client): Promise<void> {
  await admin.query('insert into users (user_id, email) select n, n || $1 from generate_series(1, $2::int) n', [
    '@example.com',
    USERS,
  ]);
  await admin.query('insert into preferences (user_id, email_enabled) select user_id, true from users');
}

const NOTIFICATION = `insert into notifications
  (id, payload, user_ids, everyone, channels, status, created_by, exhausted, last_page, completed_at)`;
const PAGE = `insert into pages
  (notification_id, number, first_user_id, last_user_id, users, state, settled_at, user_ids, message_ids, channel_bits)`;

/** They ended one after the other, a second apart. */
async function storeSmall(admin: Client, count: number, age: string): Promise<void> {
  await admin.query(
    `with n as (
       ${NOTIFICATION}
       select gen_random_uuid(), repeat('Your statement is ready. ', 10), array[n], false, '{email}', 'completed', 'key:a',
         true, 1, now() - $2::interval + n * interval '1 second'
       from generate_series(1, $1::int) n
       returning id, user_ids, completed_at
     )
     ${PAGE}
     select id, 1, user_ids[1], user_ids[1], 1, 'settled', completed_at, user_ids, array[gen_random_uuid()], '{1}' from n`,
    [count, age],
  );
}

/** Their manifests are stored out of line, as they are in production. */
async function storeLarge(admin: Client): Promise<void> {
  await admin.query(
    `with n as (
       ${NOTIFICATION}
       select gen_random_uuid(), 'News', '{}', true, '{email}', 'completed', 'key:a', true, $2,
         now() - interval '100 days' + n * interval '1 hour'
       from generate_series(1, $1::int) n
       returning id, completed_at
     )
     ${PAGE}
     select id, p, p * 500, p * 500 + 499, 500, 'settled', completed_at, array(select generate_series(p * 500, p * 500 + 499)),
       array(select gen_random_uuid() from generate_series(1, 500) where p > 0), array_fill(1::smallint, '{500}')
     from n, generate_series(1, $2::int) p`,
    [LARGE.count, LARGE.pages],
  );
}

/** What was seen of the transactions of a kind: how often, and the longest, in ms. */
type Seen = { samples: number; longestMs: number };

/** Looks at the transactions in the database until stopped. Locks end with their transaction. */
function watchTransactions(client: Client): () => Promise<Record<'retention' | 'dispatch', Seen>> {
  const seen = { retention: { samples: 0, longestMs: 0 }, dispatch: { samples: 0, longestMs: 0 } };
  const stopping = new AbortController();
  const watch = async () => {
    while (!stopping.signal.aborted) {
      for (const { query, ms } of await sampleTransactions(client)) {
        const kind = seen[/^\s*delete from|\bjobs\b/.test(query) ? 'retention' : 'dispatch'];
        kind.samples += 1;
        kind.longestMs = Math.max(kind.longestMs, ms);
      }
      await sleep(SAMPLE_INTERVAL_MS);
    }
  };
  const done = watch();
  return async () => {
    stopping.abort();
    await done;
    return seen;
  };
}

async function sampleTransactions(client: Client): Promise<{ query: string; ms: number }[]> {
  const { rows } = await client.query(
    `select query, extract(epoch from clock_timestamp() - xact_start)::float8 * 1000 as ms from pg_stat_activity
     where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
       and xact_start is not null`,
  );
  return rows;
}

/** Waits until `check` passes, and returns after how many ms. */
async function measure(check: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await vi.waitFor(check, { timeout: 75_000, interval: 100 });
  return performance.now() - startedAt;
}

describe('retention', () => {
  it('removes 100,000 while a broadcast runs, in one of two processes, without a lock of a second', async () => {
    const watcher = await connect();
    onTestFinished(() => watcher.end());
    const stopWatching = watchTransactions(watcher);
    const sink = await startSink();
    sink.answer(() => ({ replyAfter: sleep(SNS_LATENCY_MS) }));
    const db = open();
    const id = await accept(db);
    const processes = [open(), open()].map((own) => ({ db: own, ...createLog(), retentionDays: 90 }));

    const dispatcher = runDispatcher(createDeps({ db, sns: sink.connect() }, { recipientsPerMessage: PER_MESSAGE }), 4);
    const retentions = processes.map((deps) => runRetention(deps));
    const [broadcastMs, removalMs] = await Promise.all([
      measure(async () =>
        expect((await db.notification.findUniqueOrThrow({ where: { id } })).status).toBe('completed'),
      ),
      measure(async () => expect((await db.job.findFirstOrThrow()).due_at.getTime()).toBeGreaterThan(Date.now())),
    ]);
    await Promise.all([dispatcher.stop(0), ...retentions.map((retention) => retention.stop())]);
    const { retention, dispatch } = await stopWatching();

    const count = SMALL + LARGE.count;
    const pages = SMALL + LARGE.count * LARGE.pages;
    expect(processes.flatMap(({ lines }) => lines)).toMatchObject([
      { msg: 'old notifications removed', notifications: count, pages },
    ]);
    expect(await db.notification.count()).toBe(KEPT + 1);
    expect(await db.page.count({ where: { notification_id: { not: id } } })).toBe(KEPT);
    expect(await readCounts(db, id)).toMatchObject({ targeted: USERS, published: USERS, pending: 0, failed: 0 });
    expect(sink.accepted).toHaveLength(USERS / PER_MESSAGE);
    console.log(`removal ${Math.round(removalMs)} ms, broadcast ${Math.round(broadcastMs)} ms`, {
      retention,
      dispatch,
    });
    expect(Math.min(broadcastMs, removalMs)).toBeGreaterThan(5_000);
    expect(Math.min(retention.samples, dispatch.samples)).toBeGreaterThan(0);
    expect(Math.max(retention.longestMs, dispatch.longestMs)).toBeLessThan(LOCK_MAX_MS);
  });
});
