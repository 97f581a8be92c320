import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createDatabase, readPoolUse } from '../src/database.ts';
import { runDispatcher } from '../src/notifications/dispatcher.ts';
import { createFaultLog } from '../src/notifications/fault-log.ts';
import { startTestApp } from './support/app.ts';
import { openContract } from './support/contract.ts';
import { createTestDatabase } from './support/database.ts';
import { createDeps, createLog, eventually, range } from './support/dispatch.ts';
import { startProxy } from './support/proxy.ts';
import { call, startTestService } from './support/service.ts';
import { startSink } from './support/sink.ts';
import { expectUnavailable } from './support/unavailable.ts';

const DISPATCH_FAILED = 'dispatch failed; it will be tried again';
const NOT_READY = { status: 'not ready', checks: { database: 'failed', topic: 'ok' } };

/** A database of its own behind a proxy. */
async function openProxied() {
  const direct = await createTestDatabase();
  const { hostname: host, port } = new URL(direct);
  const proxy = await startProxy({ host, port: Number(port) });
  const url = new URL(direct);
  url.host = `127.0.0.1:${proxy.port}`;
  return { proxy, url: url.href };
}

/** The service on a database that can be broken; all connections of its pool are open. */
async function startBehindProxy(overrides: Record<string, string> = {}) {
  const { proxy, url } = await openProxied();
  const service = await startTestService({ DATABASE_URL: url, ...overrides });
  onTestFinished(() => service.stop());
  await Promise.all(range(1, 20).map(() => call(service, 'GET', '/users')));
  return { proxy, service };
}

const within = (ms: number) => ({ timeout: ms, interval: 50 });

describe.each(['hole', 'reset'] as const)('a service whose database connections break: %s', (trouble) => {
  it('answers 503 in less than 5 s, is not ready, and recovers within 10 s with nothing lost', async () => {
    const { proxy, service } = await startBehindProxy();
    const api = await openContract(service);
    proxy.behave(trouble);

    const [ready] = await Promise.all([call(service, 'GET', '/health/ready'), expectUnavailable(api)]);
    const metrics = await call(service, 'GET', '/metrics');
    await eventually(() => expect(service.logs).toContainEqual(expect.objectContaining({ msg: DISPATCH_FAILED })));
    proxy.behave('pass');

    expect(ready).toMatchObject({ status: 503, body: NOT_READY });
    expect(metrics).toMatchObject({ status: 200, text: expect.stringMatching(/^dispatch_lag_seconds Nan$/m) });
    await expect.poll(async () => (await call(service, 'GET', '/health/ready')).status, within(10_000)).toBe(200);
    const told = await call(service, 'POST', '/notifications', { payload: 'Hello' }, { prefer: 'wait=30' });
    expect(told).toMatchObject({ status: 200, body: { status: 'completed' } });
    await eventually(() =>
      expect(service.logs).toContainEqual(expect.objectContaining({ msg: 'the database answers again' })),
    );
  });
});

describe('a dispatcher whose database is away', () => {
  it('says so once, however many loops meet it, and when it is back', async () => {
    const { proxy, url } = await openProxied();
    const db = createDatabase({ url, poolMax: 4 });
    const { log, lines } = createLog();
    const faults = createFaultLog(log);
    const say = vi.spyOn(faults, 'say');
    proxy.behave('reset');
    const deps = createDeps({ db, sns: (await startSink()).connect() }, { log, faults });
    const dispatcher = runDispatcher(deps, 8);
    await eventually(() => expect(say.mock.calls.length).toBeGreaterThanOrEqual(20));
    const whileAway = lines.map(({ msg }) => msg);

    proxy.behave('pass');
    await eventually(() => expect(lines.length).toBeGreaterThan(1));
    await dispatcher.stop(1_000);
    await db.$disconnect();

    expect(whileAway).toEqual([DISPATCH_FAILED]);
    expect(lines[1]).toMatchObject({ msg: 'the database answers again' });
  });
});

describe('a connection on which a query was given up', () => {
  it('is closed and never used again', async () => {
    const { proxy, url } = await openProxied();
    const db = createDatabase({ url, poolMax: 1 });
    onTestFinished(() => db.$disconnect());
    await db.$queryRaw`select 1`;
    proxy.behave('hole');
    const given = db.$queryRaw`select 1`;
    await expect(given).rejects.toThrow('Query read timeout');
    proxy.behave('pass');

    expect(readPoolUse(db)).toEqual({ max: 1, open: 0, in_use: 0, waiting: 0 });
    expect(await db.$queryRaw`select 2 as n`).toEqual([{ n: 2 }]);
  });
});

describe('a request', () => {
  it('is answered 503 when its time is up, though the database answers later, which nobody complains about', async () => {
    const app = await startTestApp({ patience: { arrivalMs: 1_000, silenceMs: 1_000, answerMs: 100 } });
    onTestFinished(app.stop);
    const db = app.db;
    const locked = db.$transaction(async (tx) => {
      await tx.$executeRaw`lock table preferences`;
      const reply = await call(app, 'PUT', '/preferences/1', {});
      expect(reply).toMatchObject({ status: 503, body: { code: 'unavailable' } });
      expect(reply.headers.get('retry-after')).toBe('2');
    });
    await locked;

    // Nobody took the change back.
    await expect.poll(async () => (await call(app, 'GET', '/preferences/1')).status, within(5_000)).toBe(200);
    expect(app.lines.filter(({ level }) => level >= 40)).toEqual([
      expect.objectContaining({ msg: 'database unavailable' }),
    ]);
  });

  it('waits for a connection no longer than that, however many come, and each has an answer', async () => {
    const { service } = await startBehindProxy({ DATABASE_POOL_MAX: '2' });
    const startedAt = performance.now();

    const replies = await Promise.all(range(1, 100).map((n) => call(service, 'PUT', `/preferences/${n}`, {})));

    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([201]));
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});
