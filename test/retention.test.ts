import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createDatabase, type Database } from '../src/database.ts';
import { claimJob, finishJob, renewJob } from '../src/jobs.ts';
import { type Removed, removeNext, removeWhenDue, runRetention } from '../src/notifications/retention.ts';
import { startTestApp } from './support/app.ts';
import { createLog, emptyDatabase, eventually, openTestDatabase, UNSTOPPED } from './support/dispatch.ts';
import { call } from './support/service.ts';

let connect: Awaited<ReturnType<typeof openTestDatabase>>;
let db: Database;

beforeAll(async () => {
  connect = await openTestDatabase();
});

beforeEach(async () => {
  db = connect();
  await emptyDatabase(db);
  await db.job.deleteMany();
});

type Stored = { age?: string | null; status?: string; openPages?: number; pages?: number };

/** Stores notifications that ended `age` ago, null: not yet; each with pages that told one user. Returns the ids. */
async function store(count: number, { age = '91 days', status = 'completed', openPages = 0, pages = 1 }: Stored = {}) {
  const rows = await db.$queryRaw<{ id: string }[]>`
    with n as (
      insert into notifications (id, payload, everyone, channels, status, created_by, exhausted, last_page, completed_at,
        open_pages, targeted, published)
      select gen_random_uuid(), 'old', true, '{email}', ${status}::notification_status, 'key:a', true, ${pages}::int,
        now() - ${age}::text::interval, ${openPages}::int, ${pages}::int, ${pages}::int
      from generate_series(1, ${count}::int)
      returning id
    ), p as (
      insert into pages (notification_id, number, first_user_id, last_user_id, users, state, settled_at, user_ids,
        message_ids, channel_bits)
      select id, number, number, number, 1, 'settled', now(), array[number], array[gen_random_uuid()], '{1}'
      from n, generate_series(1, ${pages}::int) number
    )
    select id from n`;
  return rows.map(({ id }) => id);
}

async function storeOne(stored: Stored): Promise<string> {
  const [id = ''] = await store(1, stored);
  return id;
}

/** Removes batch after batch. */
async function removeAll(retentionDays = 90): Promise<Removed> {
  const total = { notifications: 0, pages: 0 };
  for (;;) {
    const { notifications, pages } = await removeNext({ db, retentionDays });
    total.notifications += notifications;
    total.pages += pages;
    if (notifications + pages === 0) return total;
  }
}

async function listIds(): Promise<string[]> {
  return (await db.notification.findMany({ select: { id: true } })).map(({ id }) => id).sort();
}

/** Another process: clients and a log of its own. */
function createProcess() {
  const { log, lines } = createLog();
  return { deps: { db: connect(), log, retentionDays: 90 }, lines };
}

const readJob = () => db.job.findUnique({ where: { name: 'retention' } });

describe('what is removed', () => {
  it('is what ended long ago, however it ended, with its pages', async () => {
    for (const status of ['completed', 'canceled', 'expired']) await store(1, { status, pages: 2 });

    expect(await removeAll()).toEqual({ notifications: 3, pages: 6 });
    expect(await db.page.count()).toBe(0);
  });

  it('is not what is younger, has not ended, or still has a page under way', async () => {
    const kept = [
      await storeOne({ age: '89 days' }),
      await storeOne({ age: null, status: 'dispatching' }),
      await storeOne({ age: null, status: 'paused' }),
      await storeOne({ age: null, status: 'scheduled' }),
      await storeOne({ status: 'canceled', openPages: 1 }),
    ];
    await store(1);

    expect(await removeAll()).toEqual({ notifications: 1, pages: 1 });
    expect(await listIds()).toEqual(kept.sort());
    expect(await db.page.count()).toBe(5);
  });

  it('is older than the days to keep, by the clock of the database', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2099-01-01T00:00:00Z') });
    onTestFinished(() => void vi.useRealTimers());
    await storeOne({ age: '7 days 1 second' });
    const kept = await storeOne({ age: '6 days 23:59:00' });

    await removeAll(7);

    expect(await listIds()).toEqual([kept]);
  });

  it('goes in batches, however many pages one notification has', async () => {
    await storeOne({ age: '92 days', pages: 450 });
    await store(300);

    const first = await removeNext({ db, retentionDays: 90 });

    expect(first).toEqual({ notifications: 0, pages: 200 });
    expect(await removeAll()).toEqual({ notifications: 301, pages: 550 });
  });

  it('is passed over, and not waited for, while somebody has locked it', async () => {
    const [locked = ''] = await store(3);
    const other = connect();

    await other.$transaction(async (tx) => {
      await tx.$queryRaw`select from notifications where id = ${locked}::uuid for update`;
      await tx.$queryRaw`select from pages where notification_id = ${locked}::uuid for update`;
      expect(await removeAll()).toEqual({ notifications: 2, pages: 2 });
    });

    expect(await removeAll()).toEqual({ notifications: 1, pages: 1 });
  });
});

describe('the API, while a notification is removed', () => {
  it('shows its counts to the end, its messages from the next page on, and then 404', async () => {
    const app = await startTestApp({ db });
    onTestFinished(app.stop);
    const path = `/notifications/${await storeOne({ pages: 300 })}`;

    await removeNext({ db, retentionDays: 90 });

    const half = await call(app, 'GET', path);
    expect(half).toMatchObject({
      status: 200,
      body: { status: 'completed', counts: { targeted: 300, published: 300 } },
    });
    const messages = await call(app, 'GET', `${path}/messages`);
    expect(messages.status).toBe(200);
    expect((messages.body as { user_id: number }[])[0]).toMatchObject({ user_id: 201 });

    await removeNext({ db, retentionDays: 90 });

    for (const read of [path, `${path}/messages`, `${path}/failures`])
      expect((await call(app, 'GET', read)).status).toBe(404);
    for (const control of ['cancel', 'pause', 'resume', 'retry']) {
      expect((await call(app, 'POST', `${path}/${control}`)).status).toBe(404);
    }
    expect((await call(app, 'GET', '/notifications')).body).toEqual([]);
  });
});

describe('the job', () => {
  it('is done once a day', async () => {
    const { deps } = createProcess();
    await store(1);
    await removeWhenDue(deps, UNSTOPPED);
    const [later] = await store(1);

    await removeWhenDue(deps, UNSTOPPED);

    expect(await listIds()).toEqual([later]);
    const job = await readJob();
    expect(job).toMatchObject({ holder: null, lease_until: null });
    expect(((job?.due_at.getTime() ?? 0) - Date.now()) / 3_600_000).toBeCloseTo(24, 1);

    await db.$executeRaw`update jobs set due_at = now() - interval '1 ms'`;
    await removeWhenDue(deps, UNSTOPPED);

    expect(await listIds()).toEqual([]);
  });

  it('is done by one of two processes that start at the same time', async () => {
    await store(1_000);
    const processes = [createProcess(), createProcess()];

    const running = processes.map(({ deps }) => runRetention(deps));
    await eventually(async () => expect((await readJob())?.due_at.getTime()).toBeGreaterThan(Date.now()));
    await Promise.all(running.map((retention) => retention.stop()));

    expect(processes.flatMap(({ lines }) => lines)).toMatchObject([
      { msg: 'old notifications removed', notifications: 1_000, pages: 1_000 },
    ]);
    expect(await listIds()).toEqual([]);
  });

  it('is left to a process that has it, and taken over when that has been silent for its lease', async () => {
    const crashed = { name: 'retention', holder: randomUUID() };
    expect(await claimJob(db, crashed)).toBe(true);
    await store(1);
    const { deps } = createProcess();

    await removeWhenDue(deps, UNSTOPPED);
    expect(await listIds()).toHaveLength(1);
    expect((await readJob())?.holder).toBe(crashed.holder);

    await db.$executeRaw`update jobs set lease_until = now() - interval '1 ms'`;
    await removeWhenDue(deps, UNSTOPPED);
    expect(await listIds()).toEqual([]);

    const after = await readJob();
    expect(await renewJob(db, crashed)).toBe(false);
    await finishJob(db, crashed, 1);
    expect(await readJob()).toEqual(after);
  });

  it('is dropped at once by a process that another one has taken it from', async () => {
    await store(4_000);
    const { deps, lines } = createProcess();
    const running = runRetention(deps);
    await eventually(async () => expect(await db.notification.count()).toBeLessThan(4_000));

    const thief = randomUUID();
    await db.$executeRaw`update jobs set holder = ${thief}::uuid`;

    await eventually(() => expect(lines).toMatchObject([{ msg: 'retention taken over by another process' }]));
    expect(await db.notification.count()).toBeGreaterThan(0);
    expect((await readJob())?.holder).toBe(thief);
    await running.stop();
    expect((await readJob())?.holder).toBe(thief);
  });

  it('is given back by a process that stops in the middle, for another one to go on', async () => {
    await store(4_000);
    const { deps, lines } = createProcess();
    const running = runRetention(deps);
    await eventually(async () => expect(await db.notification.count()).toBeLessThan(4_000));

    await running.stop();

    const left = await db.notification.count();
    expect(left).toBeGreaterThan(0);
    expect(await readJob()).toMatchObject({ holder: null, lease_until: null });
    expect(lines).toMatchObject([{ msg: 'retention given back; another process may go on' }]);
    const next = createProcess();
    await removeWhenDue(next.deps, UNSTOPPED);
    expect(next.lines).toMatchObject([{ msg: 'old notifications removed', notifications: left }]);
  });
});

describe('a process whose database is away', () => {
  it('says so without a stack, goes on, and can be stopped', async () => {
    const { log, lines } = createLog();
    const away = createDatabase({ url: 'postgresql://nobody@127.0.0.1:1/nowhere', poolMax: 1 });
    onTestFinished(() => away.$disconnect());

    const running = runRetention({ db: away, log, retentionDays: 90 });
    await eventually(() => expect(lines).toHaveLength(1));
    await running.stop();

    expect(lines).toMatchObject([{ msg: 'retention failed; it will be tried again', reason: expect.any(String) }]);
    expect(lines[0]).not.toHaveProperty('err');
  });
});
