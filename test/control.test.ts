import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Database } from '../src/database.ts';
import { RATE_SECONDS } from '../src/notifications/counts.ts';
import { type Dispatcher, type DispatcherDeps, dispatchNext, runDispatcher } from '../src/notifications/dispatcher.ts';
import { expireRunning } from '../src/notifications/lifecycle.ts';
import { cutPage, reclaimPage } from '../src/notifications/pages.ts';
import { controlNotification, getNotification } from '../src/notifications/service.ts';
import {
  ACTOR,
  accept,
  addUsers,
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

const PAGE_USERS = 3;
const USERS = range(1, 60);
/** Processes, and pages each has under way at a time. */
const INSTANCES = 3;
const CONCURRENCY = 2;
/** Enough for every page under way to be answered. */
const GRACE_MS = 10_000;
/** Looks for work of its own: more than any process needs to find a page that is there. */
const LOOKS = 20;

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

const control = (verb: 'cancel' | 'pause' | 'resume', id: string) =>
  controlNotification(db, verb, { id, owner: null, actor: ACTOR });

const told = () => sink.accepted.map(({ body }) => readUser(body)).toSorted((a, b) => a - b);

const readUser = (body: string) =>
  (JSON.parse(body) as { data: { recipients: { user_id: number }[] } }).data.recipients[0]?.user_id ?? Number.NaN;

/** Everything that claiming a page would change. */
const readClaims = (id: string) =>
  db.$queryRaw<unknown[]>`
    select n.cursor, n.last_page, n.exhausted, (select sum(attempt) from pages where notification_id = n.id) as attempts
    from notifications n where n.id = ${id}::uuid`;

/** Several processes on one database, each with loops of its own. */
function startInstances(): Dispatcher[] {
  const instances = range(1, INSTANCES).map(() => runDispatcher({ ...deps, db: connect() }, CONCURRENCY));
  onTestFinished(async () => {
    await Promise.all(instances.map((instance) => instance.stop(GRACE_MS)));
  });
  return instances;
}

/** Gives every loop more chances than it needs to find a page. */
async function lookForWork(instances: Dispatcher[]): Promise<void> {
  for (let look = 0; look < LOOKS; look++) {
    for (const instance of instances) instance.wake();
    expect(await dispatchNext(deps, UNSTOPPED)).toBe(false);
  }
}

/** A broadcast of which every loop of every process has a page that SNS has taken and not answered yet. */
async function startBroadcast() {
  await addUsers(db, USERS);
  const id = await accept(db, { expires_at: new Date(Date.now() + 3_600_000) });
  const release = sink.holdReplies();
  const instances = startInstances();
  await eventually(() => expect(sink.accepted).toHaveLength(INSTANCES * CONCURRENCY * PAGE_USERS));
  return { id, instances, release };
}

describe('a broadcast under way on several instances', () => {
  it('has no page claimed from the answer to a pause until it is resumed, and its counters stand still', async () => {
    const { id, instances, release } = await startBroadcast();

    await control('pause', id);
    const claims = await readClaims(id);
    release();
    await eventually(async () => expect(await readCounts(db, id)).toMatchObject({ pending: 0 }));
    const counts = await readCounts(db, id);
    await lookForWork(instances);

    expect(await readClaims(id)).toEqual(claims);
    expect(await readCounts(db, id)).toEqual(counts);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'paused', completed_at: null, rate: null });

    await control('resume', id);
    expect(await untilEnded(db, id)).toMatchObject({ status: 'completed', counts: { published: USERS.length } });
    expect(told()).toEqual(USERS);
  });

  it.each([
    { end: 'canceled', act: (id: string) => control('cancel', id) },
    {
      end: 'expired',
      act: async (id: string) => {
        await db.$executeRaw`update notifications set expires_at = now() where id = ${id}::uuid`;
        await dispatchNext(deps, UNSTOPPED);
      },
    },
  ])('has no page claimed once it is $end, and its counters stand still', async ({ end, act }) => {
    const { id, instances, release } = await startBroadcast();

    await act(id);
    const claims = await readClaims(id);
    expect(await getNotification(db, id, null)).toMatchObject({ status: end });
    release();
    const ended = await untilEnded(db, id);
    await lookForWork(instances);

    expect(await readClaims(id)).toEqual(claims);
    expect(await readCounts(db, id)).toEqual(ended.counts);
    const underWay = INSTANCES * CONCURRENCY * PAGE_USERS;
    expect(ended).toMatchObject({ status: end, counts: { targeted: USERS.length, published: underWay, pending: 0 } });
    expect(ended.counts.suppressed).toMatchObject({ [end]: USERS.length - underWay });
    expect(told()).toHaveLength(underWay);
  });
});

describe('a page that is being taken over at that very moment', () => {
  it.each([
    { verb: 'pause', claimed: [] },
    { verb: 'cancel', claimed: ['canceled'] },
    { verb: 'expire', claimed: ['expired'] },
  ] as const)('is left until $verb is answered, and not published any more', async ({ verb, claimed }) => {
    await addUsers(db, range(1, 8));
    const id = await accept(db);
    await cutPage(db, deps);
    await expireLeases(db);

    const meanwhile = await db.$transaction(async (rival) => {
      if (verb === 'expire') await expireRunning(rival as Database, id);
      else await controlNotification(rival as Database, verb, { id, owner: null, actor: ACTOR });
      return reclaimPage(db, 60);
    });

    expect(meanwhile).toBeNull();
    const page = await reclaimPage(db, 60);
    expect(page === null ? [] : [page.withdrawn]).toEqual(claimed);
  });
});

describe('a paused notification', () => {
  it('goes on where it was, and tells nobody twice', async () => {
    await addUsers(db, range(1, 10));
    const id = await accept(db);
    await dispatchNext(deps, UNSTOPPED);
    await control('pause', id);
    expect(await dispatchAll(deps)).toBe(0);

    expect(await control('resume', id)).toMatchObject({ status: 'dispatching' });
    await dispatchAll(deps);

    expect(told()).toEqual(range(1, 10));
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', counts: { published: 10 } });
  });

  it('leaves the page of an owner who died where it is', async () => {
    await addUsers(db, [1, 2]);
    const id = await accept(db);
    await cutPage(db, deps);
    await expireLeases(db);
    await control('pause', id);

    expect(await dispatchNext(deps, UNSTOPPED)).toBe(false);

    await control('resume', id);
    await dispatchAll(deps);
    expect(told()).toEqual([1, 2]);
  });

  it('is completed when its last page was under way', async () => {
    await addUsers(db, [1, 2]);
    const id = await accept(db);
    const release = sink.holdReplies();
    const step = dispatchNext(deps, UNSTOPPED);
    await eventually(() => expect(sink.accepted).toHaveLength(2));

    expect(await control('pause', id)).toMatchObject({ status: 'paused' });
    release();
    await step;

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', progress: 1 });
    await expect(control('resume', id)).rejects.toMatchObject({ code: 'illegal_transition' });
  });

  it('expires when its time comes, with the page of an owner who died', async () => {
    await addUsers(db, range(1, 8));
    const expires_at = new Date(Date.now() + 3_600_000);
    const ids = [await accept(db, { expires_at }), await accept(db, { expires_at, user_ids: [1, 2] })];
    for (const _ of ids) await cutPage(db, deps);
    await expireLeases(db);
    for (const id of ids) await control('pause', id);
    expect(await dispatchNext(deps, UNSTOPPED)).toBe(false);

    await db.$executeRaw`update notifications set expires_at = now(), waiting_since = now()`;
    await dispatchAll(deps);

    const [first, second] = await Promise.all(ids.map((id) => getNotification(db, id, null)));
    expect(first).toMatchObject({ status: 'expired', progress: 1, counts: { suppressed: { expired: 8 } } });
    expect(second).toMatchObject({ progress: 1, counts: { pending: 0, suppressed: { expired: 2 } } });
    expect(sink.calls).toHaveLength(0);
  });

  it('waits for its time when it was scheduled', async () => {
    await addUsers(db, [1]);
    const id = await accept(db, { send_at: new Date(Date.now() + 3_600_000) });
    await control('pause', id);

    expect(await control('resume', id)).toMatchObject({ status: 'scheduled' });
    expect(await dispatchNext(deps, UNSTOPPED)).toBe(false);
  });

  it('does not count the time of the pause into its rate', async () => {
    await addUsers(db, range(1, 9));
    const id = await accept(db);
    await dispatchNext(deps, UNSTOPPED);
    await control('pause', id);
    await db.$executeRaw`update notifications set recent_at = now() - interval '1 hour'`;
    await control('resume', id);

    expect(await getNotification(db, id, null)).toMatchObject({ rate: 0, eta: null });
    await dispatchNext(deps, UNSTOPPED);

    // Three users within milliseconds.
    const { rate } = await getNotification(db, id, null);
    expect(rate).toBeGreaterThan(10);
  });

  it('counts its rate anew from where it goes on, pages under way included', async () => {
    await addUsers(db, range(1, PAGE_USERS));
    const id = await accept(db);
    const release = sink.holdReplies();
    const step = dispatchNext(deps, UNSTOPPED);
    await eventually(() => expect(sink.accepted).toHaveLength(PAGE_USERS));
    await db.$executeRaw`update notifications set exhausted = false, recent_since = now() - interval '1 hour'`;
    await control('pause', id);
    await control('resume', id);
    // As if it had gone on for a while before the page was settled, with another one to come.
    await db.$executeRaw`update notifications set recent_since = recent_since - interval '3 seconds'`;

    release();
    await step;

    const { rate } = await getNotification(db, id, null);
    expect(rate).toBeGreaterThan(0.5);
    expect(rate).toBeLessThan(1.5);
  });
});

describe('the rate of a dispatch', () => {
  /** A broadcast to 10,000 of which every tenth second a page of 1,000 was settled, `pages` of them. */
  const pretendPages = async (everyone: boolean, pages: number) => {
    await db.$executeRaw`insert into users (user_id) select generate_series(1, 10000)`;
    const id = await accept(db, everyone ? {} : { user_ids: range(1, 10_000) });
    await cutPage(db, { pageUsers: 1_000, leaseSeconds: 60 });
    // What 1,000 users every 0.1 s add up to.
    await db.$executeRaw`
      update notifications set cursor = ${pages * 1_000}, published = ${pages * 1_000}, recent_at = now(),
        targeted = case when everyone then ${pages * 1_000} else targeted end,
        recent_since = now() - ${pages} * interval '0.1 second',
        recent_users = (select sum(1000 * exp(-n * 0.1 / ${RATE_SECONDS}::float8)) from generate_series(0, ${pages - 1}) as n)`;
    return id;
  };

  it.each([{ everyone: true }, { everyone: false }])(
    'is what the last seconds made, and says when it will end %o',
    async ({ everyone }) => {
      const id = await pretendPages(everyone, 4);

      const before = Date.now();
      const { rate, eta, progress } = await getNotification(db, id, null);
      const after = Date.now();

      expect(progress).toBe(0.4);
      expect(rate).toBeGreaterThan(9_000);
      expect(rate).toBeLessThan(11_000);
      const secondsLeft = (at: number) => ((eta?.getTime() ?? 0) - at) / 1000;
      expect(secondsLeft(after)).toBeLessThan(0.7);
      expect(secondsLeft(before)).toBeGreaterThan(0.5);
    },
  );

  it('fades when nothing moves, and promises no end then', async () => {
    const id = await pretendPages(true, 4);
    await db.$executeRaw`update notifications set recent_at = now() - interval '1 day', recent_since = now() - interval '1 day'`;

    expect(await getNotification(db, id, null)).toMatchObject({ rate: 0, eta: null });
  });

  it('promises no end as long as the rate it shows is none', async () => {
    const id = await pretendPages(true, 4);

    for (let seconds = 10; seconds <= 300; seconds += 10) {
      await db.$executeRaw`update notifications set recent_at = now() - make_interval(secs => ${seconds})`;
      const { rate, eta } = await getNotification(db, id, null);
      expect({ seconds, promised: eta !== null }).toEqual({ seconds, promised: rate !== 0 });
    }
  });

  it('is none before the first page and after the last', async () => {
    await addUsers(db, [1, 2]);
    const id = await accept(db);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'queued', rate: null, eta: null });

    await dispatchAll(deps);

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', rate: null, eta: null });
  });
});
