import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createDatabase, type Database } from '../src/database.ts';
import { type DispatcherDeps, dispatchNext, runDispatcher } from '../src/notifications/dispatcher.ts';
import { composeMessages } from '../src/notifications/message.ts';
import {
  type ClaimedPage,
  cutPage,
  reclaimPage,
  releasePage,
  renewLease,
  settlePage,
} from '../src/notifications/pages.ts';
import { resolveRecipients } from '../src/notifications/recipients.ts';
import { getNotification, listSentMessages } from '../src/notifications/service.ts';
import { tallyPage } from '../src/notifications/tally.ts';
import {
  accept,
  addUsers,
  createDeps,
  createLog,
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

const PAGE_USERS = 3;
/** Enough for every page under way to be answered. */
const GRACE_MS = 10_000;

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

const eventIds = () => sink.accepted.map(({ body }) => (JSON.parse(body) as { id: string }).id);

/** Claims the next page as a process would that dies before it settles it. */
async function claimPage(): Promise<ClaimedPage> {
  const page = (await reclaimPage(db, 60)) ?? (await cutPage(db, deps));
  if (page === null || 'kind' in page) throw new Error('There is no page to claim.');
  return page;
}

/** Publishes a claimed page and returns its result, unsettled. */
async function publishUnsettled(page: ClaimedPage) {
  const resolved = await resolveRecipients(db, page);
  const messages = composeMessages(page, resolved.recipients, 1);
  return tallyPage(resolved, messages, await deps.publisher.publish(messages, UNSTOPPED));
}

const readPages = (id: string) => db.page.findMany({ where: { notification_id: id }, orderBy: { number: 'asc' } });

describe('a page whose owner died', () => {
  it('is published again under the same ids, and counted once', async () => {
    await addUsers(db, range(1, 5));
    const id = await accept(db);
    await publishUnsettled(await claimPage());
    const first = eventIds();
    await expireLeases(db);

    await dispatchAll(deps);

    expect(eventIds()).toEqual([...first, ...first, `${id}/4`, `${id}/5`]);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed' });
    expect(await readCounts(db, id)).toMatchObject({ targeted: 5, published: 5, messages: 5, pending: 0 });
    const last = sink.accepted.slice(first.length).map(({ messageId }) => messageId);
    expect(
      (await listSentMessages(db, id, null, { limit: 10, cursor: 0 })).map(({ message_id }) => message_id),
    ).toEqual(last);
  });

  it('is not settled by its old owner any more, before or after the new one settles it', async () => {
    await addUsers(db, range(1, 3));
    const id = await accept(db);
    const old = await claimPage();
    const result = await publishUnsettled(old);
    await expireLeases(db);
    const taken = await claimPage();

    expect(taken).toEqual({ ...old, attempt: old.attempt + 1, claimed_at: taken.claimed_at });
    expect(await settlePage(db, old, result)).toBe(false);
    expect(await renewLease(db, old, 60)).toBe(false);
    expect(await readCounts(db, id)).toMatchObject({ published: 0, pending: 3 });

    expect(await renewLease(db, taken, 60)).toBe(true);
    expect(await settlePage(db, taken, await publishUnsettled(taken))).toBe(true);
    const readRows = async () => [await db.notification.findUniqueOrThrow({ where: { id } }), await readPages(id)];
    const settled = await readRows();
    expect(await settlePage(db, old, result)).toBe(false);
    expect(await settlePage(db, taken, result)).toBe(false);
    expect(await renewLease(db, taken, 60)).toBe(false);
    expect(await readRows()).toEqual(settled);
  });

  it('is published by the preferences of the second attempt', async () => {
    await addUsers(db, range(1, 3));
    const id = await accept(db);
    await claimPage();
    await db.preference.update({ where: { user_id: 2 }, data: { email_enabled: false } });
    await expireLeases(db);

    await dispatchAll(deps);

    expect(eventIds()).toEqual([`${id}/1`, `${id}/3`]);
    expect(await readCounts(db, id)).toMatchObject({ published: 2, suppressed: { opted_out: 1 } });
  });

  it('is taken over by one process only', async () => {
    await addUsers(db, range(1, 3));
    await accept(db);
    await claimPage();
    await expireLeases(db);

    const taken = await Promise.all(range(1, 5).map(() => reclaimPage(db, 60)));

    expect(taken.filter((page) => page !== null)).toHaveLength(1);
  });

  it('stays with its owner while the lease lasts', async () => {
    await addUsers(db, [1, 2]);
    await accept(db);
    await claimPage();

    expect(await dispatchNext(deps, UNSTOPPED)).toBe(false);
  });
});

describe('an owner that is still there', () => {
  it('renews its lease for as long as SNS takes', async () => {
    await addUsers(db, range(1, 3));
    const id = await accept(db);
    const release = sink.holdReplies();
    const step = dispatchNext({ ...deps, leaseSeconds: 0.3 }, UNSTOPPED);
    await eventually(() => expect(sink.accepted).toHaveLength(3));
    await expireLeases(db);

    await eventually(async () => {
      const [page] = await db.$queryRaw<{ renewed: boolean }[]>`select lease_until > now() as renewed from pages`;
      expect(page?.renewed).toBe(true);
    });
    release();
    await step;

    expect(await readPages(id)).toMatchObject([{ attempt: 1, state: 'settled', lease_until: null }]);
  });

  it('stops at once and records nothing when it has lost its page', async () => {
    await addUsers(db, range(1, 20));
    const id = await accept(db);
    const { log, lines } = createLog();
    const release = sink.holdReplies();
    const lost = dispatchNext({ ...deps, log, pageUsers: 20, leaseSeconds: 0.3 }, UNSTOPPED);
    await eventually(() => expect(sink.accepted).toHaveLength(20));
    await expireLeases(db);
    const taken = await claimPage();

    await lost;

    expect(lines).toContainEqual(expect.objectContaining({ level: 40, msg: expect.stringContaining('lease lost') }));
    expect(await readCounts(db, id)).toMatchObject({ published: 0, pending: 20 });
    release();
    expect(await settlePage(db, taken, await publishUnsettled(taken))).toBe(true);
    expect(await readCounts(db, id)).toMatchObject({ targeted: 20, published: 20, messages: 20 });
  });

  it('stops likewise while it backs off', async () => {
    await addUsers(db, range(1, 3));
    const id = await accept(db);
    sink.answer(() => ({ refuse: { status: 400, code: 'Throttling' } }));
    const lost = dispatchNext({ ...deps, leaseSeconds: 0.3 }, UNSTOPPED);
    await eventually(() => expect(sink.calls.length).toBeGreaterThanOrEqual(3));
    await expireLeases(db);
    await claimPage();

    expect(await lost).toBe(true);

    expect(await readCounts(db, id)).toMatchObject({ published: 0, pending: 3 });
  });

  it('holds no connection to the database while SNS is silent', async () => {
    await addUsers(db, range(1, 3));
    await accept(db);
    const alone = connect(1);
    sink.answer(() => ({ connection: 'hang' }));
    const leaving = new AbortController();
    const step = dispatchNext({ ...deps, db: alone }, leaving.signal);
    await eventually(() => expect(sink.calls).toHaveLength(1));

    expect(await alone.$queryRaw`select 1 as answer`).toEqual([{ answer: 1 }]);
    leaving.abort();
    await step;
  });
});

describe('a settlement', () => {
  it('completes the notification when no page is open any more, whichever is last', async () => {
    await addUsers(db, range(1, 5));
    const id = await accept(db);
    const [first, second] = [await claimPage(), await claimPage()];

    await settlePage(db, second, await publishUnsettled(second));
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'dispatching', completed_at: null });
    await settlePage(db, first, await publishUnsettled(first));

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', progress: 1 });
    expect(await readCounts(db, id)).toMatchObject({ targeted: 5, published: 5, pending: 0 });
  });

  it('is tried again when its answer is lost, and counts once', async () => {
    await addUsers(db, range(1, 3));
    const id = await accept(db);
    const flaky = loseAnswer(db, 'pages set state');

    expect(await dispatchNext({ ...deps, db: flaky.db }, UNSTOPPED)).toBe(true);

    expect(flaky.lost()).toBe(1);
    expect(sink.accepted).toHaveLength(3);
    expect(await readCounts(db, id)).toMatchObject({ targeted: 3, published: 3, pending: 0 });
  });

  it('outlives the connection it is made on, as at a fail-over', async () => {
    await addUsers(db, range(1, 3));
    const id = await accept(db);
    const release = sink.holdReplies();
    const step = dispatchNext({ ...deps, db: connect(1) }, UNSTOPPED);
    await eventually(() => expect(sink.accepted).toHaveLength(3));

    await db.$transaction(async (rival) => {
      await rival.$executeRaw`select 1 from notifications where id = ${id}::uuid for update`;
      release();
      await eventually(async () => {
        const killed = await db.$queryRaw<unknown[]>`
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
        expect(killed).toHaveLength(1);
      });
    });
    await step;

    expect(sink.accepted).toHaveLength(3);
    expect(await readPages(id)).toMatchObject([{ state: 'settled', attempt: 1 }]);
    expect(await readCounts(db, id)).toMatchObject({ targeted: 3, published: 3, pending: 0 });
  });

  /** The database, but the answer to the first statement with this text never arrives, though it is carried out. */
  function loseAnswer(real: Database, text: string): { db: Database; lost: () => number } {
    let lost = 0;
    const query = async (statement: { text: string }) => {
      const answer: unknown = await real.pool.query(statement);
      if (lost > 0 || !statement.text.includes(text)) return answer;
      lost += 1;
      throw new Error('Connection terminated unexpectedly');
    };
    const flaky = new Proxy(real, {
      get: (target, key) => (key === 'pool' ? { query } : Reflect.get(target, key)),
    });
    return { db: flaky, lost: () => lost };
  }
});

describe('a stop', () => {
  it('lets pages under way finish, and claims no more', async () => {
    await addUsers(db, range(1, 30));
    const id = await accept(db);
    const release = sink.holdReplies();
    const dispatcher = runDispatcher(deps, 2);
    await eventually(() => expect(sink.accepted).toHaveLength(2 * PAGE_USERS));

    const stopped = dispatcher.stop(GRACE_MS);
    release();
    await stopped;

    expect(await readCounts(db, id)).toMatchObject({ published: 2 * PAGE_USERS, pending: 0 });
    expect(await readPages(id)).toMatchObject([{ state: 'settled' }, { state: 'settled' }]);
  });

  it('gives pages back when SNS is silent beyond the grace, so that another process goes on at once', async () => {
    await addUsers(db, range(1, 4));
    const id = await accept(db);
    sink.answer(() => ({ connection: 'hang' }));
    const dispatcher = runDispatcher({ ...deps, db: connect(1) }, 1);
    await eventually(() => expect(sink.calls).toHaveLength(1));

    await dispatcher.stop(0);

    const [page] = await db.$queryRaw<{ free: boolean }[]>`select lease_until <= now() as free from pages`;
    expect(page?.free).toBe(true);
    sink.answer(() => ({}));
    await dispatchAll(deps);
    expect(await readCounts(db, id)).toMatchObject({ targeted: 4, published: 4, pending: 0 });
    expect(eventIds()).toEqual(range(1, 4).map((user) => `${id}/${user}`));
  });

  it('gives a page back that was claimed when the grace was over already', async () => {
    await addUsers(db, range(1, 3));
    const id = await accept(db);
    sink.answer(() => ({ connection: 'hang' }));

    expect(await dispatchNext(deps, AbortSignal.abort())).toBe(true);

    expect(sink.calls).toHaveLength(0);
    expect(await claimPage()).toMatchObject({ notification_id: id, number: 1 });
  });

  it('leaves a page free that it gave back, though a renewal of its lease was still on the way', async () => {
    await addUsers(db, range(1, 3));
    await accept(db);
    const page = await claimPage();

    await releasePage(db, page);

    expect(await renewLease(db, page, 60)).toBe(false);
    expect(await reclaimPage(db, 60)).toMatchObject({ number: page.number });
  });

  it('wakes idle loops at once', async () => {
    await addUsers(db, [1]);
    const dispatcher = runDispatcher(deps, 64);
    await untilEnded(db, await accept(db));
    const start = performance.now();

    await dispatcher.stop(GRACE_MS);

    // Each of so many loops sleeps for 8 s at least.
    expect(performance.now() - start).toBeLessThan(4_000);
  });

  it('makes no noise with any number of loops', async () => {
    await addUsers(db, range(1, 60));
    await accept(db);
    const warned = vi.fn<(warning: Error) => void>();
    process.on('warning', warned);
    const release = sink.holdReplies();
    const dispatcher = runDispatcher({ ...deps, pageUsers: 1 }, 20);
    await eventually(() => expect(sink.calls).toHaveLength(8));

    release();
    await dispatcher.stop(GRACE_MS);

    process.off('warning', warned);
    expect(warned.mock.calls).toEqual([]);
  });
});

describe('a dispatcher', () => {
  it('logs an error of the database and goes on when it is over', async () => {
    await addUsers(db, range(1, 5));
    const id = await accept(db);
    await db.$executeRaw`alter table pages rename to pages_away`;
    const { log, lines } = createLog();
    const dispatcher = runDispatcher({ ...deps, log }, 2);
    await eventually(() => expect(lines.filter(({ level }) => level === 50)).toHaveLength(2));

    await db.$executeRaw`alter table pages_away rename to pages`;
    dispatcher.wake();
    const ended = await untilEnded(db, id);
    await dispatcher.stop(GRACE_MS);

    expect(lines).toContainEqual(expect.objectContaining({ msg: expect.stringContaining('dispatch failed') }));
    expect(ended).toMatchObject({ status: 'completed', counts: { published: 5 } });
  });

  it('outlives a database that is away, and stops meanwhile', async () => {
    const { log, lines } = createLog();
    const away = createDatabase({ url: 'postgresql://nobody@127.0.0.1:1/nowhere', poolMax: 1 });
    const dispatcher = runDispatcher({ ...deps, db: away, log }, 1);
    await eventually(() => expect(lines).toContainEqual(expect.objectContaining({ level: 50 })));

    await dispatcher.stop(GRACE_MS);
    await away.$disconnect();

    expect(new Set(lines.map(({ msg }) => msg))).toEqual(new Set(['dispatch failed; it will be tried again']));
  });
});
