import { getEventListeners, setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { createDatabase, type Database } from '../src/database.ts';
import { runDispatcher } from '../src/notifications/dispatcher.ts';
import { createGovernor, type Governor } from '../src/notifications/governor.ts';
import { reserveSlots } from '../src/notifications/quota.ts';
import { createBucket } from './support/counting-sink.ts';
import { createTestDatabase } from './support/database.ts';
import {
  accept,
  addUsers,
  createDeps,
  createLog,
  dispatchAll,
  eventually,
  range,
  readCounts,
  TOPIC_ARN,
  UNSTOPPED,
  untilEnded,
} from './support/dispatch.ts';
import { type Sink, startSink } from './support/sink.ts';

const LIMIT = { topicArn: TOPIC_ARN, rate: 1_000 };

let url: string;
let db: Database;
let sink: Sink;

beforeEach(async () => {
  url = await createTestDatabase();
  db = connect();
  sink = await startSink();
});

afterEach(() => vi.useRealTimers());

function connect(): Database {
  const client = createDatabase({ url, poolMax: 5 });
  onTestFinished(() => client.$disconnect());
  return client;
}

const govern = (rateLimit: number | undefined, { log } = createLog()) =>
  createGovernor({ db: connect(), topicArn: TOPIC_ARN, rateLimit, log });

/** Takes the database away, until what this returns is called. */
async function removeDatabase(): Promise<() => Promise<unknown>> {
  const admin = new Client({ connectionString: inject('postgresUrl') });
  await admin.connect();
  onTestFinished(() => admin.end());
  const name = new URL(url).pathname.slice(1);
  await admin.query(`alter database ${name} with allow_connections false`);
  await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name]);
  return () => admin.query(`alter database ${name} with allow_connections true`);
}

const countTimers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;

describe('the slots of a topic', () => {
  it('follow one another, whoever reserves them', async () => {
    const clients = [connect(), connect()];
    const start = performance.now();

    await Promise.all(clients.flatMap((client) => range(1, 100).map(() => reserveSlots(client, LIMIT, 10))));

    const next = performance.now() - start + (await reserveSlots(db, LIMIT, 1));
    expect(next).toBeGreaterThanOrEqual(2_000 - 1);
    expect(next).toBeLessThan(2_000 + performance.now() - start);
  });

  it('are those of that topic alone', async () => {
    await reserveSlots(db, LIMIT, 30_000);

    expect(await reserveSlots(db, { ...LIMIT, topicArn: `${TOPIC_ARN}-other` }, 1)).toBeLessThan(1);
  });

  it('begin now when the last ones are long past', async () => {
    await reserveSlots(db, LIMIT, 1);
    await db.$executeRaw`update publish_rate set reserved_until = now() - interval '1 hour'`;

    expect(Math.abs(await reserveSlots(db, LIMIT, 1))).toBeLessThan(1);
  });

  it('begin within a minute when the clock of the database has jumped back', async () => {
    await reserveSlots(db, LIMIT, 1);
    await db.$executeRaw`update publish_rate set reserved_until = now() + interval '1 hour'`;

    expect(await reserveSlots(db, LIMIT, 1)).toBeLessThanOrEqual(60_000);
  });
});

describe('a limit', () => {
  it('is one for all processes', async () => {
    const leaving = new AbortController();
    let admitted = 0;
    const publish = async (governor: Governor) => {
      while (!leaving.signal.aborted) {
        await governor.admit(10, leaving.signal);
        admitted += 10;
      }
    };
    const start = performance.now();
    const loops = [govern(400), govern(400), govern(400)].flatMap((governor) => [publish(governor), publish(governor)]);

    await eventually(() => expect(admitted).toBeGreaterThanOrEqual(600));

    const seconds = (performance.now() - start) / 1_000;
    expect(admitted).toBeLessThanOrEqual(400 * (seconds + 0.2) + 10);
    leaving.abort();
    await Promise.allSettled(loops);
  });

  it.each([
    { rateLimit: 1, batchMax: 1 },
    { rateLimit: 11, batchMax: 2 },
    { rateLimit: 9_000, batchMax: 10 },
    { rateLimit: undefined, batchMax: 10 },
  ])('makes batches so small that one is little of it: $rateLimit', async ({ rateLimit, batchMax }) => {
    expect(govern(rateLimit).batchMax).toBe(batchMax);
  });

  it('is kept by a dispatch, in batches of its size', async () => {
    await addUsers(db, range(1, 20));
    const id = await accept(db);
    const start = performance.now();

    await dispatchAll(createDeps({ db, sns: sink.connect(), governor: govern(20) }));

    expect(performance.now() - start).toBeGreaterThanOrEqual(900);
    expect(sink.calls.map(({ entries }) => entries.length)).toEqual([5, 5, 5, 5]);
    expect(await readCounts(db, id)).toMatchObject({ published: 20, failed: 0 });
  });

  it('lets nothing go while the database is away, says so once, and goes on when it is back', async () => {
    const { log, lines } = createLog();
    const calls = vi.fn<() => void>();
    const observed = new Proxy(connect(), {
      get(target, key) {
        if (key === '$queryRaw') calls();
        return Reflect.get(target, key);
      },
    });
    const governor = createGovernor({ db: observed, topicArn: TOPIC_ARN, rateLimit: 1_000, log });
    await governor.admit(10, UNSTOPPED);
    const restore = await removeDatabase();
    let admitted = 0;
    const waiting = range(1, 8).map(() => governor.admit(10, UNSTOPPED).then(() => (admitted += 10)));
    calls.mockClear();
    await eventually(() => expect(calls.mock.calls.length).toBeGreaterThanOrEqual(3));

    expect(admitted).toBe(0);
    await restore();
    await Promise.all(waiting);

    expect(admitted).toBe(80);
    expect(lines.map(({ msg }) => msg)).toEqual([
      'the shared publishing rate cannot be reserved; nothing is published until it can',
      'the shared publishing rate can be reserved again',
    ]);
  });

  it('leaves no timer and no listener behind, whether a wait succeeds or is given up', async () => {
    const { log, lines } = createLog();
    const governor = govern(1_000, { log, lines });
    await removeDatabase();
    const before = countTimers();
    const leaving = new AbortController();
    await govern(undefined).admit(10, leaving.signal);
    expect(getEventListeners(leaving.signal, 'abort')).toHaveLength(0);
    const waiting = range(1, 8).map(() => governor.admit(10, leaving.signal));
    await eventually(() => expect(lines).toHaveLength(1));

    leaving.abort(new Error('leaving'));

    for (const wait of waiting) await expect(wait).rejects.toThrow('leaving');
    expect(getEventListeners(leaving.signal, 'abort')).toHaveLength(0);
    await eventually(() => expect(countTimers()).toBeLessThanOrEqual(before));
    await expect(governor.admit(1, leaving.signal)).rejects.toThrow('leaving');
  });
});

describe('throttling by SNS', () => {
  /** A process that publishes what it can on one governor, 20 ms a call, in a time that only passes in this test. */
  function publishTo(governor: Governor, bucketOf: () => ReturnType<typeof createBucket>) {
    const taken: number[] = [];
    const { signal } = new AbortController();
    // Every call under way listens, more than the ten from which Node suspects a leak.
    setMaxListeners(0, signal);
    const publish = async () => {
      for (;;) {
        await governor.admit(10, signal);
        await sleep20();
        const accepted = bucketOf().take(10) ? 10 : 0;
        if (accepted > 0) taken.push(performance.now());
        governor.report({ accepted, throttled: 10 - accepted });
      }
    };
    const workers = 16;
    for (let n = 0; n < workers; n++) void publish();
    return (seconds: number) => (taken.filter((at) => at > performance.now() - seconds * 1_000).length * 10) / seconds;
  }
  const sleep20 = () => new Promise((resolve) => setTimeout(resolve, 20));

  it.each([{ rate: 300 }, { rate: 1_500 }, { rate: 7_000 }])(
    'is adapted to: most of $rate/s are used',
    async ({ rate }) => {
      vi.useFakeTimers();
      const bucket = createBucket(rate);
      const perSecond = publishTo(govern(undefined), () => bucket);

      await vi.advanceTimersByTimeAsync(40_000);

      expect(perSecond(10)).toBeGreaterThanOrEqual(rate * 0.9);
    },
  );

  it('is forgotten within 10 s of its end', async () => {
    vi.useFakeTimers();
    let bucket = createBucket(300);
    const perSecond = publishTo(govern(undefined), () => bucket);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(perSecond(1)).toBeLessThanOrEqual(360);

    bucket = createBucket(Number.POSITIVE_INFINITY);
    await vi.advanceTimersByTimeAsync(10_000);

    expect(perSecond(1)).toBeGreaterThanOrEqual(7_500);
  });

  it('fails nobody, and is logged once in a while', async () => {
    const { log, lines } = createLog();
    await addUsers(db, range(1, 40));
    const id = await accept(db);
    sink.answer(({ number }) => {
      if (number <= 3) return { refuse: { status: 400, code: 'Throttling' } };
      return {
        fail: ({ body }) => (number <= 5 && body.includes('5@') ? { code: 'Throttled', senderFault: true } : undefined),
      };
    });

    await dispatchAll(createDeps({ db, sns: sink.connect(), governor: govern(undefined, { log, lines }) }));

    expect(await readCounts(db, id)).toMatchObject({ targeted: 40, published: 40, failed: 0 });
    expect(lines.map(({ msg }) => msg)).toEqual(['SNS throttles; publishing more slowly']);
  });
});

describe('a direct notification during a broadcast', () => {
  it.each([{ workers: 1 }, { workers: 3 }])(
    'is published before more than one page per worker of it: $workers',
    async ({ workers }) => {
      const pageUsers = 100;
      await addUsers(db, range(1, 6_000));
      sink.answer(() => ({ replyAfter: sleep(20) }));
      const dispatcher = runDispatcher(createDeps({ db, sns: sink.connect() }, { pageUsers }), workers);
      const broadcast = await accept(db);
      dispatcher.wake();
      await eventually(() => expect(sink.accepted.length).toBeGreaterThan(workers * pageUsers));

      const direct = await accept(db, { user_ids: [1] });
      const before = sink.accepted.length;
      dispatcher.wake();
      await untilEnded(db, direct);

      const index = sink.accepted.findIndex(({ body }) => body.includes(direct));
      expect(index - before).toBeLessThanOrEqual(workers * pageUsers);
      expect((await readCounts(db, broadcast)).published).toBeLessThan(6_000);
      await dispatcher.stop(0);
    },
  );
});
