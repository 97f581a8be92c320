import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { startTestApp } from './support/app.ts';
import { type Contract, openContract } from './support/contract.ts';
import { call, startTestService, type TestService } from './support/service.ts';

/** How long to wait for a condition on a busy machine. */
const PATIENCE = { timeout: 10_000 };

const READY = { status: 'ready', checks: { database: 'ok', topic: 'ok' } };

const NDJSON = { 'content-type': 'application/x-ndjson' };

/** A well-formed call of every route that needs the database. */
const CALLS = [
  ['GET', '/preferences'],
  ['POST', '/preferences', { user_id: 1 }],
  ['GET', '/preferences/1'],
  ['PUT', '/preferences/1', {}],
  ['PATCH', '/preferences/1', { sms_enabled: true }],
  ['DELETE', '/preferences/1'],
  ['GET', '/users'],
  ['GET', '/users/1'],
  ['PUT', '/users/1', {}],
  ['DELETE', '/users/1'],
  ['POST', '/users/import', '{"user_id": 1}\n', NDJSON],
  ['POST', '/preferences/import', '{"user_id": 1}\n', NDJSON],
  ['GET', '/notifications'],
  ['POST', '/notifications', { payload: 'Hello' }],
  ['POST', '/notifications/preview', { payload: 'Hello' }],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55'],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/messages'],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/failures'],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/events'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/cancel'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/pause'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/resume'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/retry'],
] as const;

/** Makes every call at once. Each has to answer 503, and when to try again, in less than 5 s. */
async function expectUnavailable(api: Contract): Promise<void> {
  const replies = await Promise.all(
    CALLS.map(async ([method, path, body, headers]) => {
      const startedAt = Date.now();
      const { status, body: problem } = await api.call(method, path, body, headers);
      return { call: `${method} ${path}`, status, problem, inTime: Date.now() - startedAt < 5_000 };
    }),
  );

  for (const reply of replies) {
    expect(reply).toMatchObject({ status: 503, problem: { code: 'unavailable' }, inTime: true });
  }
}

describe('a service that has all it needs', () => {
  let service: TestService;
  let api: Contract;

  beforeAll(async () => {
    service = await startTestService();
    api = await openContract(service);
  });

  afterAll(() => service.stop());

  it('is live and ready', async () => {
    expect(await api.call('GET', '/health/live')).toMatchObject({ status: 200, body: { status: 'ok' } });
    expect(await api.call('GET', '/health/ready/')).toMatchObject({ status: 200, body: READY });
  });

  it('answers other methods with 405', async () => {
    for (const path of ['/health/live', '/health/ready']) {
      const reply = await api.call('POST', path, {});

      expect([reply.status, reply.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    }
  });

  it('answers 503 when its database throws it out, and recovers by itself', async () => {
    const admin = new Client({ connectionString: inject('postgresUrl') });
    await admin.connect();
    onTestFinished(() => admin.end());
    const database = new URL(service.config.DATABASE_URL).pathname.slice(1);
    await admin.query(`alter database ${database} with allow_connections false`);
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database]);

    await expectUnavailable(api);

    await admin.query(`alter database ${database} with allow_connections true`);
    await expect.poll(async () => (await api.call('GET', '/users')).status, PATIENCE).toBe(200);
    const { status } = await api.call('POST', '/notifications', { payload: 'Hello' }, { prefer: 'wait=30' });
    expect(status).toBe(200);
  });
});

describe('readiness', () => {
  it('is found out once for all who ask at the same time, and kept for a moment', async () => {
    const asked = { database: 0, topic: 0 };
    const check = (name: keyof typeof asked) => async () => {
      asked[name] += 1;
    };
    const readiness = { draining: () => false, checks: { database: check('database'), topic: check('topic') } };
    const app = await startTestApp({ readiness });
    onTestFinished(app.stop);

    const replies = await Promise.all(Array.from({ length: 50 }, () => call(app, 'GET', '/health/ready')));

    expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 200));
    expect(asked).toEqual({ database: 1, topic: 1 });
    await expect.poll(async () => (await call(app, 'GET', '/health/ready')).status && asked.topic, PATIENCE).toBe(2);
  });
});

describe.each(['refuses connections', 'does not answer'])('a service whose database %s', (trouble) => {
  let service: TestService;
  let api: Contract;
  let stopListening = () => {};

  beforeAll(async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    stopListening = () => {
      silent.close();
      for (const socket of sockets) socket.destroy();
    };
    if (trouble === 'refuses connections') stopListening();
    service = await startTestService({ DATABASE_URL: `postgresql://nobody@127.0.0.1:${port}/nothing` });
    api = await openContract(service);
  });

  afterAll(async () => {
    stopListening();
    await service.stop();
  });

  it.concurrent('is live but not ready, and says which dependency failed', async () => {
    const live = await api.call('GET', '/health/live');
    const ready = await api.call('GET', '/health/ready');

    expect(live).toMatchObject({ status: 200, body: { status: 'ok' } });
    expect(ready).toMatchObject({
      status: 503,
      body: { status: 'not ready', checks: { database: 'failed', topic: 'ok' } },
    });
  });

  it.concurrent('answers every call that needs it with 503 and when to try again, in less than 5 s', async () => {
    await expectUnavailable(api);

    const unseen = ['Preferences', 'Users', 'Notifications']
      .flatMap(api.documented)
      .filter((answer) => answer.endsWith(' 503') && !api.seen.has(answer));
    expect(unseen).toEqual([]);
  });

  it.concurrent('still answers what needs no database', async () => {
    expect((await api.call('POST', '/notifications', {})).status).toBe(400);
    expect((await api.call('GET', '/nothing')).status).toBe(404);
    expect((await api.call('GET', '/openapi.json')).status).toBe(200);
  });
});

describe('a service whose topic is missing', () => {
  let service: TestService;
  let api: Contract;

  beforeAll(async () => {
    service = await startTestService({ SNS_TOPIC_ARN: 'arn:aws:sns:us-east-1:000000000000:nothing' });
    api = await openContract(service);
  });

  afterAll(() => service.stop());

  it('is live but not ready, and says which dependency failed', async () => {
    const live = await api.call('GET', '/health/live');
    const ready = await api.call('GET', '/health/ready');

    expect(live.status).toBe(200);
    expect(ready).toMatchObject({
      status: 503,
      body: { status: 'not ready', checks: { database: 'ok', topic: 'failed' } },
    });
  });

  it('accepts notifications all the same', async () => {
    const { status } = await api.call('POST', '/notifications', { payload: 'Hello', send_at: '2098-01-01T00:00:00Z' });

    expect(status).toBe(202);
  });
});

describe('a service that stops', () => {
  it('is draining, and still answers, until the drain is over', async () => {
    const service = await startTestService();
    const api = await openContract(service);

    const stopped = service.stop(1_000);
    const [ready, live, accepted] = await Promise.all([
      api.call('GET', '/health/ready'),
      api.call('GET', '/health/live'),
      api.call('POST', '/notifications', { payload: 'Hello' }),
    ]);
    await stopped;

    expect(ready).toMatchObject({ status: 503, body: { ...READY, status: 'draining' } });
    expect([live.status, accepted.status]).toEqual([200, 202]);
    await expect(call(service, 'GET', '/health/live')).rejects.toThrow('fetch failed');
  });

  it('answers a request that had begun to arrive like any other', async () => {
    const service = await startTestService();
    const { hostname, port } = new URL(service.url);
    const socket = connect(Number(port), hostname);
    const chunks: string[] = [];
    socket.setEncoding('utf8').on('data', (chunk: string) => chunks.push(chunk));
    // The reply to the first shows that the service has read the beginning of the second.
    socket.write('GET /users HTTP/1.1\r\nHost: x\r\n\r\nGET /preferences HTTP/1.1\r\nHost: x\r\n');
    await expect.poll(() => chunks.length, PATIENCE).toBeGreaterThan(0);

    const stopped = service.stop();
    await expect.poll(() => call(service, 'GET', '/health/live').catch(() => 'refused'), PATIENCE).toBe('refused');
    chunks.length = 0;
    socket.write('\r\n');
    await Promise.all([stopped, once(socket, 'close')]);

    expect(chunks.join('')).toMatch(/^HTTP\/1.1 200 OK\r\n.*x-request-id: .*\r\n\r\n\[\]$/s);
  });

  it('lets nobody wait for a dispatch any longer', async () => {
    const service = await startTestService({ ROLE: 'api' });
    const api = await openContract(service);
    const waiting = api.call('POST', '/notifications', { payload: 'Hello' }, { prefer: 'wait=30' });
    await expect.poll(() => service.db.notification.count(), PATIENCE).toBe(1);

    await service.stop();

    expect(await waiting).toMatchObject({ status: 202, body: { status: 'queued' } });
  });
});

describe('a service that only dispatches', () => {
  it('answers health checks and nothing else', async () => {
    const service = await startTestService({ ROLE: 'dispatcher' });

    const ready = await call(service, 'GET', '/health/ready');
    const replies = await Promise.all(
      CALLS.map(([method, path, body, headers]) => call(service, method, path, body, headers)),
    );
    await service.stop();

    expect(ready).toMatchObject({ status: 200, body: READY });
    for (const reply of replies) expect(reply).toMatchObject({ status: 404, body: { code: 'route_not_found' } });
  });
});
