import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { runDispatcher } from '../src/notifications/dispatcher.ts';
import { openContract } from './support/contract.ts';
import { addUsers, createDeps, eventually, range } from './support/dispatch.ts';
import { watch } from './support/events.ts';
import { call, startTestService, type TestService } from './support/service.ts';
import { startSink } from './support/sink.ts';

/** The shortest time between two events, in ms; a timer may ring a millisecond early. */
const INTERVAL_MS = 499;
const USERS = 200;

/** The members of a notification that its events have. */
const SHOWN = new Set([
  ...['id', 'status', 'audience', 'started_at', 'completed_at', 'progress', 'rate', 'eta', 'counts'],
]);

let service: TestService;

beforeAll(async () => {
  // It does not dispatch: the tests do, or nobody.
  service = await startTestService({ ROLE: 'api' });
  await addUsers(service.db, range(1, USERS));
});

afterAll(() => service.stop());

const events = (id: string) => `${service.url}/notifications/${id}/events`;

async function send(body: object = {}): Promise<string> {
  const reply = await call(service, 'POST', '/notifications', { payload: 'Hello', ...body });
  expect(reply.status).toBe(202);
  return (reply.body as { id: string }).id;
}

const control = (id: string, verb: string) => call(service, 'POST', `/notifications/${id}/${verb}`);

/** Dispatches page after page of ten, each in `pageMs` at least, until the test is over. */
async function dispatchSlowly(pageMs: number): Promise<void> {
  const sink = await startSink();
  sink.answer(() => ({ replyAfter: sleep(pageMs) }));
  const deps = createDeps({ db: service.db, sns: sink.connect() }, { pageUsers: 10 });
  const dispatcher = runDispatcher(deps, 1);
  onTestFinished(() => dispatcher.stop(5_000));
}

/** What events show of a notification, as reading it shows it now. */
async function readProgress(id: string): Promise<object> {
  const { body } = await call(service, 'GET', `/notifications/${id}`);
  return Object.fromEntries(Object.entries(body as object).filter(([name]) => SHOWN.has(name)));
}

describe('a stream of events', () => {
  it('begins with the state as it is', async () => {
    const id = await send({ send_at: '2999-01-01T00:00:00Z', subject: 'A subject', user_ids: [1, 2] });

    const { response, events: seen, retries } = await watch(events(id));
    await eventually(() => expect(seen.length).toBe(1));

    expect(response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    expect(seen).toMatchObject([{ event: 'progress', id: undefined, data: { status: 'scheduled' } }]);
    expect(seen[0]?.data).toEqual(await readProgress(id));
    expect(retries).toEqual([2_000]);
  });

  it('tells of a dispatch at most twice a second, and ends with what reading it shows then', async () => {
    const user_ids = range(1, USERS);
    await dispatchSlowly(150);
    const askedAt = performance.now();

    const id = await send({ user_ids });
    const { events: seen, closed, isWhole } = await watch(events(id));
    await closed;

    const lastAt = seen.at(-1)?.at ?? 0;
    expect(seen.length).toBeGreaterThanOrEqual(4);
    expect(seen.length).toBeLessThanOrEqual(1 + (lastAt - askedAt) / INTERVAL_MS);
    expect(seen.map(({ event }) => event)).toEqual([...seen.slice(1).map(() => 'progress'), 'end']);
    expect(seen.at(-1)).toMatchObject({ id: 'end', data: { status: 'completed', counts: { published: USERS } } });
    expect(seen.at(-1)?.data).toEqual(await readProgress(id));
    expect(isWhole()).toBe(true);
  });

  it('never goes back, and accounts for everyone', async () => {
    await dispatchSlowly(100);

    const id = await send();
    const { events: seen, closed } = await watch(events(id));
    await closed;

    const told = seen.map(({ data: { counts, progress } }) => [progress, counts.published, counts.messages]);
    expect(told).toEqual(told.toSorted(([a = 0], [b = 0]) => a - b));
    expect(told.map(([, published]) => published)).toEqual(told.map(([, , messages]) => messages));
    for (const { data } of seen) {
      const { targeted, published, failed, pending, suppressed } = data.counts;
      const unsent = Object.values(suppressed).reduce((sum, users) => sum + users, failed + pending);
      expect({ ...data.counts, targeted: published + unsent }).toEqual({ ...data.counts, targeted });
    }
    const rates = seen.slice(0, -1).map(({ data: { rate } }) => rate ?? 0);
    expect(Math.max(...rates)).toBeGreaterThan(0);
    expect(seen.at(-1)?.data).toMatchObject({ rate: null, eta: null, audience: { type: 'everyone', count: USERS } });
  });

  it('shows that it is paused, resumed and canceled, and ends with that', async () => {
    const id = await send({ user_ids: [1] });
    const { events: seen, closed } = await watch(events(id));

    for (const [verb, count] of [
      ['pause', 2],
      ['resume', 3],
      ['cancel', 4],
    ] as const) {
      expect((await control(id, verb)).status).toBe(200);
      await eventually(() => expect(seen.length).toBe(count));
    }
    await closed;

    expect(seen.map(({ event, data }) => [event, data.status])).toEqual([
      ['progress', 'queued'],
      ['progress', 'paused'],
      ['progress', 'queued'],
      ['end', 'canceled'],
    ]);
    expect(seen.at(-1)?.data).toMatchObject({ progress: 1, counts: { suppressed: { canceled: 1 } } });
  });

  it('ends only when the last page of what is canceled is settled', async () => {
    const sink = await startSink();
    const release = sink.holdReplies();
    const deps = createDeps({ db: service.db, sns: sink.connect() }, { pageUsers: 10 });
    const dispatcher = runDispatcher(deps, 1);
    onTestFinished(() => dispatcher.stop(5_000));
    const id = await send({ user_ids: range(1, 20) });
    const { events: seen, closed } = await watch(events(id));
    await eventually(() => expect(sink.calls.length).toBe(1));

    await control(id, 'cancel');
    await eventually(() => expect(seen.at(-1)?.data.status).toBe('canceled'));
    const before = seen.at(-1);
    release();
    await closed;

    expect(before).toMatchObject({ event: 'progress', data: { counts: { published: 0, pending: 10 } } });
    expect(seen.at(-1)).toMatchObject({
      event: 'end',
      data: { status: 'canceled', progress: 1, counts: { published: 10, pending: 0, suppressed: { canceled: 10 } } },
    });
  });

  it('of what has ended already is its end alone, and nothing for who has seen that', async () => {
    const api = await openContract(service);
    const id = await send({ user_ids: [1] });
    await control(id, 'cancel');

    const { events: seen, closed } = await watch(events(id));
    await closed;
    const again = await api.call('GET', `/notifications/${id}/events`, undefined, { 'last-event-id': 'end' });
    const other = await api.call('GET', `/notifications/${id}/events`, undefined, { 'last-event-id': 'another' });

    expect(seen).toMatchObject([{ event: 'end', id: 'end', data: { status: 'canceled' } }]);
    expect([again.status, again.text]).toEqual([204, '']);
    expect(other.status).toBe(200);
  });

  it('is refused with a problem for what is not there', async () => {
    const api = await openContract(service);

    const missing = await api.call('GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-000000000000/events');
    const seenAll = await api.call('GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-000000000000/events', undefined, {
      'last-event-id': 'end',
    });
    const head = await api.call('HEAD', '/notifications/01932f3c-7a1e-7c1f-9d6b-000000000000/events');

    expect(missing).toMatchObject({ status: 404, body: { code: 'notification_not_found' } });
    expect(seenAll.status).toBe(404);
    expect([head.status, head.headers.get('allow')]).toEqual([405, 'GET']);
  });

  it('ends when what is watched is removed, and the client that comes back is told so', async () => {
    const id = await send({ user_ids: [1] });
    const { events: seen, closed, isWhole } = await watch(events(id));
    await eventually(() => expect(seen.length).toBe(1));

    await service.db.notification.delete({ where: { id } });
    await closed;

    expect(seen.map(({ event }) => event)).toEqual(['progress']);
    expect(isWhole()).toBe(true);
    expect((await call(service, 'GET', `/notifications/${id}/events`)).status).toBe(404);
  });

  it('outlives a database that is away for a while, and says so', async () => {
    const id = await send({ user_ids: [1] });
    const { events: seen, comments } = await watch(events(id));
    await eventually(() => expect(seen.length).toBe(1));
    const admin = new Client({ connectionString: inject('postgresUrl') });
    await admin.connect();
    onTestFinished(() => admin.end());
    const database = new URL(service.config.DATABASE_URL).pathname.slice(1);

    await admin.query(`alter database ${database} with allow_connections false`);
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database]);
    await eventually(() => expect(comments.join()).toMatch(/database is away/));
    await admin.query(`alter database ${database} with allow_connections true`);
    await eventually(async () => expect((await control(id, 'cancel')).status).toBe(200));
    await eventually(() => expect(seen.at(-1)?.event).toBe('end'));

    expect(seen.map(({ data }) => data.status)).toEqual(['queued', 'canceled']);
  });

  it('ends at once when the process stops, as one that is to be taken up again', async () => {
    const stopped = await startTestService({ ROLE: 'api' });
    const reply = await call(stopped, 'POST', '/notifications', { payload: 'Hello', user_ids: [] });
    const { id } = reply.body as { id: string };
    const streams = await Promise.all(range(1, 20).map(() => watch(`${stopped.url}/notifications/${id}/events`)));
    await eventually(() => expect(streams.every(({ events: seen }) => seen.length === 1)).toBe(true));

    const stoppedAt = performance.now();
    await stopped.stop();
    const ms = performance.now() - stoppedAt;
    await Promise.all(streams.map(({ closed }) => closed));

    expect(streams.map(({ events: seen }) => seen.map(({ event }) => event))).toEqual(streams.map(() => ['progress']));
    expect(streams.every(({ isWhole }) => isWhole())).toBe(true);
    // Well before connections are cut that are not finished.
    expect(ms).toBeLessThan(3_500);
  });
});
