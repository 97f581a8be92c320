import { once } from 'node:events';
import * as fc from 'fast-check';
import Fastify from 'fastify';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CHANNEL_NAMES } from '../src/channels.ts';
import { createDatabase, type Database } from '../src/database.ts';
import { whileWanted } from '../src/http/waiting.ts';
import { nameIds, type Packing } from '../src/notifications/audience.ts';
import { createCountQueue } from '../src/notifications/count-queue.ts';
import type { NotificationInput } from '../src/notifications/input-schema.ts';
import { MESSAGE_BYTES_MAX } from '../src/notifications/message.ts';
import { previewNotification } from '../src/notifications/preview.ts';
import { resolveRange } from '../src/notifications/recipients.ts';
import { bearer, createTestKey, startGuardedService } from './support/auth.ts';
import { type Contract, countStatuses, openContract } from './support/contract.ts';
import {
  accept,
  addUsers,
  createDeps,
  dispatchAll,
  emptyDatabase,
  eventually,
  openTestDatabase,
  range,
  readCounts,
  UNSTOPPED,
} from './support/dispatch.ts';
import { type Reply, startTestService, type TestService } from './support/service.ts';
import { startSink } from './support/sink.ts';

describe('a preview', () => {
  let connect: (poolMax?: number) => Database;
  let db: Database;

  beforeAll(async () => {
    connect = await openTestDatabase();
  });

  beforeEach(async () => {
    db = connect();
    await emptyDatabase(db);
  });

  /** Dispatches a notification of the input, and returns its counts as far as a preview has them. */
  async function dispatch(input: NotificationInput, packing: Packing) {
    const sink = await startSink();
    const id = await accept(db, input);
    await dispatchAll(createDeps({ db, sns: sink.connect() }, packing));
    const { failed, pending, ...counts } = await readCounts(db, id);
    expect([failed, pending]).toEqual([0, 0]);
    return counts;
  }

  it.each([
    { whom: 'whoever there is', people: () => users, body: () => input },
    { whom: 'many who hardly fit a message', people: () => crowd, body: () => longInput },
  ])(
    'has the counts of the notification to $whom, however they are packed',
    async ({ people, body }) => {
      await fc.assert(
        fc.asyncProperty(people(), body(), packing, async (those, given, packed) => {
          await emptyDatabase(db);
          await storeUsers(db, those);

          const preview = await previewNotification(db, given, packed, UNSTOPPED);

          expect(preview).toEqual(await dispatch(given, packed));
        }),
        { numRuns: 60, seed: 20_261_122, endOnFailure: true },
      );
    },
    120_000,
  );

  it('counts messages that bytes end, not the number of recipients', async () => {
    await addUsers(db, range(1, 200));
    const given = { payload: 'x'.repeat(MESSAGE_BYTES_MAX - 4_096) };
    const packed = { pageUsers: 100, recipientsPerMessage: 100 };

    const preview = await previewNotification(db, given, packed, UNSTOPPED);

    expect(preview.messages).toBeGreaterThan(2);
    expect(preview).toEqual(await dispatch(given, packed));
  });

  it('counts an audience of several parts, with pages that no part is a multiple of', async () => {
    const last = 60_000;
    await db.$executeRaw`
      insert into users select n * 3, 'user' || n || '@example.com', '+1555' || n from generate_series(1, ${last}::int) n`;
    await db.$executeRaw`
      insert into preferences select n * 3, n % 2 = 0, n % 5 = 0 from generate_series(1, ${last}::int) n where n % 7 <> 0`;
    const packed = { pageUsers: 3_001, recipientsPerMessage: 97 };

    const preview = await previewNotification(db, { payload: 'Hello' }, packed, UNSTOPPED);

    expect(preview.targeted).toBe(last);
    expect(preview).toEqual(await dispatch({ payload: 'Hello' }, packed));
  });

  it('is as fast where statistics say that there is nobody, as after a load they were taken in the middle of', async () => {
    const last = 20_000;
    await db.$executeRaw`
      insert into users select n, 'user' || n || '@example.com', null from generate_series(1, ${last}::int) n`;
    await db.$executeRaw`insert into preferences select n, true, false from generate_series(1, ${last}::int) n`;
    await db.$executeRaw`
      update pg_class set reltuples = 0, relpages = pg_relation_size(oid) / current_setting('block_size')::int
      where oid in ('users'::regclass, 'preferences'::regclass)`;

    // A join of each user with each takes 40 s, and statements are ended long before.
    const page = await resolveRange(db, { named: null, first_user_id: 1, last_user_id: last }, ['email']);
    const named = { named: nameIds(range(1, last)), first_user_id: 1, last_user_id: last };
    const listed = await resolveRange(db, named, ['email']);
    const preview = await previewNotification(
      db,
      { payload: 'Hello' },
      { pageUsers: 1_000, recipientsPerMessage: 1 },
      UNSTOPPED,
    );

    expect([page.users, listed.users, preview.targeted]).toEqual([last, last, last]);
  });

  it('ends with the reason of its signal', async () => {
    await addUsers(db, [1]);
    const reason = new Error('nobody waits any more');

    for (const audience of [{}, { user_ids: [1] }]) {
      const counting = previewNotification(
        db,
        { payload: 'Hello', ...audience },
        { pageUsers: 1, recipientsPerMessage: 1 },
        AbortSignal.abort(reason),
      );
      await expect(counting).rejects.toBe(reason);
    }
  });

  type Person = { user_id: number; email: string | null; phone: string | null; on: [boolean, boolean] | null };

  /** Addresses as they may be, and as long and as hard to write in JSON as the columns allow. */
  const address = fc.oneof(
    fc.emailAddress(),
    fc.string({ unit: 'binary', maxLength: 250 }).map((text) => text.replaceAll('\0', '\uffff')),
    fc.constantFrom('"'.repeat(254), '\uffff'.repeat(100), '\u0001'.repeat(150)),
  );
  const user = fc.record<Person>({
    user_id: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 2_147_483_647 })),
    email: fc.option(address, { freq: 4 }),
    phone: fc.option(fc.constantFrom('+15550000042', '+123456789012345'), { freq: 4 }),
    on: fc.option(fc.tuple(fc.boolean(), fc.boolean()), { freq: 6 }),
  });
  const users = fc.uniqueArray(user, { selector: ({ user_id }) => user_id, maxLength: 60, size: 'max' });
  const crowd = fc.uniqueArray(
    fc.record<Person>({
      user_id: fc.integer({ min: 1, max: 60 }),
      email: fc.string({ unit: fc.constantFrom('a', '"', 'é', '\uffff'), minLength: 50, maxLength: 200 }),
      phone: fc.constant('+15550000042'),
      on: fc.tuple(fc.constant(true), fc.boolean()),
    }),
    { selector: ({ user_id }) => user_id, minLength: 20, maxLength: 60, size: 'max' },
  );
  const longInput: fc.Arbitrary<NotificationInput> = fc.record(
    {
      payload: fc.integer({ min: 1_800, max: 6_000 }).map((room) => 'x'.repeat(MESSAGE_BYTES_MAX - room)),
      user_ids: fc.constant(range(1, 60)),
    },
    { requiredKeys: ['payload'] },
  );
  const input: fc.Arbitrary<NotificationInput> = fc.record(
    {
      payload: fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0')),
      subject: fc.constant('Hello'),
      user_ids: fc.array(fc.integer({ min: 1, max: 70 }), { maxLength: 80, size: 'max' }),
      channels: fc.uniqueArray(fc.constantFrom(...CHANNEL_NAMES), { minLength: 1 }),
      expires_at: fc.constantFrom(new Date('2020-01-01'), new Date('2098-01-01'), new Date('2098-01-02')),
    },
    { requiredKeys: ['payload'] },
  );
  const packing = fc.record({
    pageUsers: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(500)),
    recipientsPerMessage: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constant(1_000)),
  });

  /** Some have preferences and no address book entry: they are nobody. */
  async function storeUsers(to: Database, people: Person[]): Promise<void> {
    const known = people.filter(({ user_id }) => user_id % 9 !== 0);
    await to.user.createMany({ data: known.map(({ user_id, email, phone }) => ({ user_id, email, phone })) });
    const data = people.flatMap(({ user_id, on }) =>
      on === null ? [] : [{ user_id, email_enabled: on[0], sms_enabled: on[1] }],
    );
    await to.preference.createMany({ data });
  }
});

describe('a count that waits for its turn', () => {
  it('is not begun when nobody waits for it any more', async () => {
    const countInTurn = createCountQueue();
    const leaving = new AbortController();
    const reason = new Error('nobody waits any more');
    const counted: string[] = [];
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const under = ['first', 'second'].map((name) =>
      countInTurn({}, UNSTOPPED, async () => {
        counted.push(name);
        await finished;
      }),
    );

    const left = countInTurn({}, leaving.signal, async () => counted.push('left'));
    const stayed = countInTurn({}, UNSTOPPED, async () => counted.push('stayed'));
    leaving.abort(reason);
    finish();

    await expect(left).rejects.toBe(reason);
    await Promise.all([...under, stayed]);
    expect(counted).toEqual(['first', 'second', 'stayed']);
  });
});

describe('work for a request', () => {
  it.each([
    { when: 'its client has left', code: 'request_timeout' },
    { when: 'the process stops', code: 'overloaded' },
  ])('is ended with $code when $when', async ({ when, code }) => {
    const [stopping, leaving] = [new AbortController(), new AbortController()];
    const end = when === 'the process stops' ? stopping : leaving;
    const app = Fastify({ forceCloseConnections: true });
    const reasons: unknown[] = [];
    app.get('/', (request) =>
      whileWanted(request, stopping.signal, async (signal) => {
        setImmediate(() => end.abort());
        await once(signal, 'abort');
        reasons.push(signal.reason);
      }),
    );

    const asked = fetch(await app.listen({ port: 0 }), { signal: leaving.signal }).catch(() => null);
    await eventually(() => expect(reasons).toMatchObject([{ code }]));

    await asked;
    await app.close();
  });
});

describe('POST /notifications/preview', () => {
  let service: TestService & { key: string };
  let api: Contract;

  beforeAll(async () => {
    service = await startGuardedService();
    api = await openContract(service);
    await addUsers(service.db, range(1, 5), ['email']);
  });

  afterAll(() => service.stop());

  const preview = (body: unknown, key = service.key) => api.call('POST', '/notifications/preview', body, bearer(key));

  it('answers what would be counted, and stores and sends nothing', async () => {
    const reply = await preview({ payload: 'Hello', user_ids: [5, 1, 1, 9] });

    expect(reply).toMatchObject({
      status: 200,
      body: {
        ...{ targeted: 3, published: 2, by_channel: { email: 2, sms: 0 }, messages: 2, estimated_seconds: 0.1 },
        suppressed: { unknown_user: 1, no_preferences: 0, opted_out: 0, no_contact: 0, canceled: 0, expired: 0 },
      },
    });
    expect(await service.db.notification.count()).toBe(0);
    expect(await service.db.auditEntry.count({ where: { action: { startsWith: 'notification' } } })).toBe(0);
    expect(await service.db.usage.count()).toBe(0);
  });

  it('does not look at what the caller expects', async () => {
    const reply = await preview({ payload: 'Hello', expected_recipients: 1_000 });

    expect(reply).toMatchObject({ status: 200, body: { targeted: 5, published: 5 } });
  });

  it.each([
    { to: 'users', body: { user_ids: [1] }, scope: 'notifications:send', other: 'notifications:broadcast' },
    { to: 'everyone', body: {}, scope: 'notifications:broadcast', other: 'notifications:send' },
  ] as const)('of a notification to $to needs $scope', async ({ to, body, scope, other }) => {
    const allowed = await createTestKey(service.db, { name: `may-${to}`, scopes: [scope] });
    const refused = await createTestKey(service.db, { name: `may-not-${to}`, scopes: [other] });

    expect(await preview({ payload: 'Hello', ...body }, allowed)).toMatchObject({ status: 200 });
    expect(await preview({ payload: 'Hello', ...body }, refused)).toMatchObject({
      status: 403,
      body: { code: 'scope_missing', scopes: [scope] },
    });
  });

  it('refuses a payload that would be refused', async () => {
    const reply = await preview({ payload: 'x'.repeat(300_000), user_ids: [1] });

    expect(reply).toMatchObject({ status: 413, body: { code: 'payload_too_large' } });
  });

  it.each([{ user_ids: [1] }, {}])('of %j ends when the process stops', async (body) => {
    const stopped = await startTestService({ DATABASE_URL: service.config.DATABASE_URL });
    const counting = await openContract(stopped);

    const { reply, stopping } = await whileLocked(async () => {
      const asked = counting.call('POST', '/notifications/preview', { payload: 'Hello', ...body });
      await eventually(async () => expect(await countWaiting(service.db)).toBe(1));
      return { reply: asked, stopping: stopped.stop() };
    });

    expect(await reply).toMatchObject({ status: 503, body: { code: 'overloaded' } });
    await stopping;
  });

  it('counts two large audiences at a time, lets sixteen wait, and refuses more at once; small ones need not wait', async () => {
    const body = { payload: 'Hello' };
    const answered: Reply[] = [];
    const ask = async (more: object = {}) => void answered.push(await preview({ ...body, ...more }));

    const { asked, small, waiting, read } = await whileLocked(async () => {
      const large = [{}, { user_ids: range(1, 1_001) }];
      const all = Promise.all(range(1, 30).map((n) => ask(large[n % 2])));
      await eventually(() => expect(answered).toHaveLength(12));
      const one = preview({ ...body, user_ids: range(1, 1_000) });
      await eventually(async () => expect(await countWaiting(service.db)).toBe(3));
      const list = await api.call('GET', '/notifications', undefined, bearer(service.key));
      return { asked: all, small: one, waiting: await countWaiting(service.db), read: list.status };
    });
    const refused = [...answered];
    await asked;

    for (const reply of refused) {
      expect(reply).toMatchObject({ status: 503, body: { code: 'overloaded' } });
      expect(Number(reply.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
    expect([waiting, read, (await small).status]).toEqual([3, 200, 200]);
    expect(countStatuses(answered)).toEqual({ 200: 18, 503: 12 });
  });

  /** Does something while nobody can be counted. */
  async function whileLocked<Result>(act: () => Promise<Result>): Promise<Result> {
    const admin = createDatabase({ url: service.config.DATABASE_URL, poolMax: 1 });
    const result = await admin.$transaction(
      async (locked) => {
        await locked.$executeRaw`lock table preferences in access exclusive mode`;
        return act();
      },
      { timeout: 20_000 },
    );
    await admin.$disconnect();
    return result;
  }

  /** Statements that wait for a lock. */
  async function countWaiting(db: Database): Promise<number> {
    const [row] = await db.$queryRaw<{ waiting: number }[]>`
      select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    return row?.waiting ?? 0;
  }
});
