import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Database } from '../src/database.ts';
import { type DispatcherDeps, dispatchNext, runDispatcher } from '../src/notifications/dispatcher.ts';
import { messageSchema } from '../src/notifications/message.ts';
import { cutPage } from '../src/notifications/pages.ts';
import { controlNotification, getNotification, listSentMessages } from '../src/notifications/service.ts';
import {
  ACTOR,
  accept,
  addUsers,
  CALLER,
  createDeps,
  dispatchAll,
  emptyDatabase,
  eventually,
  expireLeases,
  openTestDatabase,
  range,
  readCounts,
  UNSTOPPED,
  untilEnded,
} from './support/dispatch.ts';
import { type Sink, startSink } from './support/sink.ts';

/** Small, so that a few users make many pages. */
const PAGE_USERS = 3;

let connect: (poolMax?: number) => Database;
let db: Database;
let sink: Sink;
let deps: DispatcherDeps;

beforeAll(async () => {
  connect = await openTestDatabase();
});

beforeEach(async () => {
  db = connect();
  await emptyDatabase(db);
  sink = await startSink();
  deps = createDeps({ db, sns: sink.connect() }, { pageUsers: PAGE_USERS });
});

afterEach(() => vi.useRealTimers());

/** Whom SNS has taken messages for, in the order it did. */
const told = () => sink.accepted.flatMap(({ body }) => messageSchema.parse(JSON.parse(body)).data.recipients).map(idOf);

const idOf = ({ user_id }: { user_id: number }) => user_id;

const ascending = (ids: number[]) => ids.toSorted((a, b) => a - b);

/** Dispatches one page until SNS has its messages; `finish` has them answered and the page settled. */
async function dispatchHeld(): Promise<{ finish: () => Promise<boolean> }> {
  const release = sink.holdReplies();
  const step = dispatchNext(deps, UNSTOPPED);
  await eventually(() => expect(sink.accepted).not.toHaveLength(0));
  const finish = () => {
    release();
    return step;
  };
  return { finish };
}

describe('a dispatched notification', () => {
  it('lists every user under the MessageId that SNS gave their message, grouped by caller', async () => {
    await addUsers(db, range(1, 30), ['email', 'sms']);
    const id = await accept(db);

    await dispatchAll({ ...deps, recipientsPerMessage: 2 });

    const sent = await listSentMessages(db, id, null, { limit: 100, cursor: 0 });
    const given = sink.accepted.flatMap(({ body, messageId }) =>
      messageSchema.parse(JSON.parse(body)).data.recipients.map(({ user_id }) => ({ user_id, message_id: messageId })),
    );
    expect(sent.map(({ user_id, message_id }) => ({ user_id, message_id }))).toEqual(
      given.toSorted((a, b) => a.user_id - b.user_id),
    );
    expect(new Set(sink.accepted.map(({ groupId }) => groupId))).toEqual(new Set([CALLER]));
  });

  it('carries the trace of its request as an attribute', async () => {
    await addUsers(db, [1]);
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const id = await accept(db);
    await db.notification.update({ where: { id }, data: { traceparent } });

    await dispatchAll(deps);

    expect(sink.accepted.map(({ attributes }) => attributes)).toEqual([{ email: '1', traceparent }]);
  });
});

describe('several dispatchers', () => {
  const everyone = range(1, 600);

  it('share one notification: nobody is told twice, nobody is lost, it is completed once', async () => {
    await addUsers(db, everyone);
    const other = createDeps({ db: connect(), sns: sink.connect() }, { pageUsers: 20 });
    const dispatchers = [runDispatcher({ ...deps, pageUsers: 20 }, 3), runDispatcher(other, 3)];

    const id = await accept(db);
    const ended = await untilEnded(db, id);
    await Promise.all(dispatchers.map(({ stop }) => stop(5_000)));

    expect(ascending(told())).toEqual(everyone);
    expect(ended).toMatchObject({ status: 'completed', counts: { targeted: 600, published: 600, pending: 0 } });
    expect(await getNotification(db, id, null)).toEqual(ended);
  });

  it('share many notifications at once', async () => {
    await addUsers(db, everyone);
    const other = createDeps({ db: connect(), sns: sink.connect() }, { pageUsers: PAGE_USERS });
    const audiences = range(0, 24).map((index) => range(index * 4 + 1, index * 4 + 1 + (index % 9)));
    const ids = await Promise.all(audiences.map((user_ids) => accept(db, { user_ids })));

    await Promise.all([deps, deps, deps, other, other, other].map(untilIdle));

    for (const [index, user_ids] of audiences.entries()) {
      const id = ids[index] ?? '';
      const sent = await listSentMessages(db, id, null, { limit: 100, cursor: 0 });
      expect(sent.map(idOf)).toEqual(user_ids);
      expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed' });
      expect(await readCounts(db, id)).toMatchObject({
        targeted: user_ids.length,
        published: user_ids.length,
        pending: 0,
      });
    }
    expect(told()).toHaveLength(audiences.flat().length);
  });

  /** A rival may hold the row of what is due, so that nothing is found once: only the end counts. */
  async function untilIdle(own: DispatcherDeps): Promise<void> {
    for (;;) {
      await dispatchAll(own);
      if ((await db.notification.count({ where: { completed_at: null } })) === 0) return;
    }
  }
});

describe('the audience', () => {
  it.each([0, 1, PAGE_USERS - 1, PAGE_USERS, PAGE_USERS + 1, 2 * PAGE_USERS])(
    'may be %i users, named or everyone',
    async (size) => {
      const users = range(11, 10 + size);
      await addUsers(db, users);
      const ids = [await accept(db), await accept(db, { user_ids: users })];

      await dispatchAll(deps);

      for (const id of ids) {
        expect(await getNotification(db, id, null)).toMatchObject({
          ...{ status: 'completed', progress: 1, audience: { count: size } },
          counts: { targeted: size, published: size, pending: 0, messages: size },
        });
      }
      expect(ascending(told())).toEqual(ascending([...users, ...users]));
    },
  );

  it('may span all ids there are', async () => {
    const users = [1, 2, 1_000_000_000, 2_147_483_646, 2_147_483_647];
    await addUsers(db, users);
    await accept(db, { user_ids: users });
    await accept(db);

    await dispatchAll(deps);

    expect(ascending(told())).toEqual(ascending([...users, ...users]));
  });

  it('adds up when users come and go between the claim of a page and its publication', async () => {
    await addUsers(db, [10, 20, 30, 40, 50, 60, 70]);
    const id = await accept(db);
    await cutPage(db, deps);
    await db.user.deleteMany({ where: { user_id: { in: [20, 50] } } });
    await addUsers(db, [5, 15, 25, 65, 80]);
    await expireLeases(db);

    await dispatchAll(deps);

    expect(ascending(told())).toEqual([10, 15, 25, 30, 40, 60, 65, 70, 80]);
    expect(await readCounts(db, id)).toMatchObject({ targeted: 9, published: 9, pending: 0 });
  });

  it('adds up in every state while users come and go', async () => {
    await addUsers(db, range(100, 140));
    const id = await accept(db);

    for (let step = 0; await dispatchNext(deps, UNSTOPPED); step++) {
      await readCounts(db, id);
      await db.user.deleteMany({ where: { user_id: { in: [101 + step, 115 + 2 * step] } } });
      await addUsers(db, [200 + step, 50 - step]);
    }

    const { targeted, published, pending } = await readCounts(db, id);
    expect({ published, pending }).toEqual({ published: targeted, pending: 0 });
    expect(new Set(told()).size).toBe(published);
  });
});

describe('turns', () => {
  it('pass to a notification to one user after at most one more page of a running broadcast', async () => {
    await addUsers(db, range(1, 60));
    await accept(db);
    await dispatchNext(deps, UNSTOPPED);
    await dispatchNext(deps, UNSTOPPED);
    await accept(db, { user_ids: [42] });
    const before = told().length;

    await dispatchNext(deps, UNSTOPPED);
    await dispatchNext(deps, UNSTOPPED);

    const since = told().slice(before);
    expect(since).toContain(42);
    expect(since.length).toBeLessThanOrEqual(PAGE_USERS + 1);
  });

  it('go round among broadcasts', async () => {
    await addUsers(db, range(1, 9));
    const ids = [
      await accept(db, { payload: 'a' }),
      await accept(db, { payload: 'b' }),
      await accept(db, { payload: 'c' }),
    ];

    for (const _ of ids) await dispatchNext(deps, UNSTOPPED);

    for (const id of ids) expect(await readCounts(db, id)).toMatchObject({ published: PAGE_USERS });
  });

  it('are not blocked by a notification whose row is locked', async () => {
    await addUsers(db, [1, 2]);
    const first = await accept(db, { user_ids: [1] });
    await accept(db, { user_ids: [2] });

    await db.$transaction(async (rival) => {
      await rival.$executeRaw`select 1 from notifications where id = ${first}::uuid for update`;
      await dispatchNext(deps, UNSTOPPED);
    });

    expect(told()).toEqual([2]);
  });
});

describe('a scheduled notification', () => {
  it('waits until it is due by the clock of the database, whatever this machine believes', async () => {
    await addUsers(db, [1]);
    const id = await accept(db, { send_at: new Date(Date.now() + 3_600_000) });
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2099-01-01') });

    expect(await dispatchNext(deps, UNSTOPPED)).toBe(false);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'scheduled', started_at: null });

    await db.$executeRaw`update notifications set waiting_since = now(), send_at = now() where id = ${id}::uuid`;
    expect(await dispatchNext(deps, UNSTOPPED)).toBe(true);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', counts: { published: 1 } });
  });
});

describe('a canceled notification', () => {
  it('counts the page under way, tells nobody else, and accounts for everybody', async () => {
    await addUsers(db, range(1, 10));
    const id = await accept(db);
    const { finish } = await dispatchHeld();

    const canceled = await controlNotification(db, 'cancel', { id, owner: null, actor: ACTOR });
    expect(canceled).toMatchObject({
      status: 'canceled',
      counts: { published: 0, pending: 3, suppressed: { canceled: 7 } },
    });
    await readCounts(db, id);
    await finish();

    expect(await dispatchNext(deps, UNSTOPPED)).toBe(false);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'canceled', progress: 1 });
    expect(await readCounts(db, id)).toMatchObject({
      targeted: 10,
      published: 3,
      pending: 0,
      suppressed: { canceled: 7 },
    });
    expect(told()).toEqual([1, 2, 3]);
  });

  it('withdraws the page of an owner who died', async () => {
    await addUsers(db, range(1, 5));
    const id = await accept(db, { user_ids: [1, 2, 77] });
    await cutPage(db, deps);
    await controlNotification(db, 'cancel', { id, owner: null, actor: ACTOR });
    await expireLeases(db);

    await dispatchAll(deps);

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'canceled', progress: 1 });
    expect(await readCounts(db, id)).toMatchObject({
      targeted: 3,
      published: 0,
      pending: 0,
      suppressed: { canceled: 3 },
    });
    expect(sink.calls).toHaveLength(0);
  });

  it('does not count users who came after its last page was cut', async () => {
    await addUsers(db, [1, 2]);
    const id = await accept(db);
    const { finish } = await dispatchHeld();
    await addUsers(db, [90, 91]);

    await controlNotification(db, 'cancel', { id, owner: null, actor: ACTOR });
    await finish();

    expect(await readCounts(db, id)).toMatchObject({
      targeted: 2,
      published: 2,
      pending: 0,
      suppressed: { canceled: 0 },
    });
  });

  it('counts from where a page that is being cut at that moment ends', async () => {
    await addUsers(db, range(1, 10));
    const id = await accept(db);

    const rival = await db.pool.connect();
    await rival.query('begin');
    await cutPage({ pool: rival, nameStatement: db.nameStatement } as unknown as Database, deps);
    const canceling = controlNotification(db, 'cancel', { id, owner: null, actor: ACTOR });
    await eventually(async () => {
      const locks = await db.$queryRaw<unknown[]>`select 1 from pg_locks where not granted`;
      expect(locks).not.toHaveLength(0);
    });
    await rival.query('commit');
    rival.release();

    expect((await canceling).counts).toMatchObject({ targeted: 10, pending: 3, suppressed: { canceled: 7 } });
  });
});

describe('a notification that expires', () => {
  const passExpiry = (id: string) =>
    db.$executeRaw`update notifications set expires_at = now() - interval '1 second' where id = ${id}::uuid`;

  it('counts the page under way, tells nobody else, and accounts for everybody', async () => {
    await addUsers(db, range(1, 10));
    const id = await accept(db, { expires_at: new Date(Date.now() + 3_600_000) });
    const { finish } = await dispatchHeld();
    await passExpiry(id);
    await finish();

    await dispatchAll(deps);

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'expired', progress: 1 });
    expect(await readCounts(db, id)).toMatchObject({
      targeted: 10,
      published: 3,
      pending: 0,
      suppressed: { expired: 7 },
    });
    expect(told()).toEqual([1, 2, 3]);
  });

  it('withdraws the page of an owner who died', async () => {
    await addUsers(db, range(1, 5));
    const id = await accept(db, { expires_at: new Date(Date.now() + 3_600_000) });
    await cutPage(db, deps);
    await passExpiry(id);
    await expireLeases(db);

    await dispatchAll(deps);

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'expired', progress: 1 });
    expect(await readCounts(db, id)).toMatchObject({
      targeted: 5,
      published: 0,
      pending: 0,
      suppressed: { expired: 5 },
    });
    expect(sink.calls).toHaveLength(0);
  });

  it('before it is due is told to nobody', async () => {
    await addUsers(db, [1, 2]);
    const id = await accept(db, { user_ids: [1, 2, 3] });
    await passExpiry(id);

    await dispatchAll(deps);

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'expired', started_at: null });
    expect(await readCounts(db, id)).toMatchObject({ targeted: 3, pending: 0, suppressed: { expired: 3 } });
  });

  it('lets others pass while it is being ended', async () => {
    await addUsers(db, [1, 2]);
    const id = await accept(db, { user_ids: [1] });
    await accept(db, { user_ids: [2] });
    await passExpiry(id);
    // A process finds it expired, and dies.
    expect(await cutPage(db, deps)).toMatchObject({ kind: 'expired', notification_id: id });

    await dispatchNext(deps, UNSTOPPED);

    expect(told()).toEqual([2]);
    await dispatchAll(deps);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'expired' });
  });
});
