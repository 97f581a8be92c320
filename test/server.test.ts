import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { createDatabase, type Database } from '../src/database.ts';
import { findFreePort } from '../src/local/postgres.ts';
import { createClients } from '../src/topology/clients.ts';
import { provisionTopology } from '../src/topology/provision.ts';
import { createTestDatabase } from './support/database.ts';
import {
  isListening,
  killProcesses,
  openRequest,
  type RunningProcess,
  startProcess,
  waitFor,
} from './support/process.ts';
import { drainQueue } from './support/queues.ts';
import { call } from './support/service.ts';

const STATEMENT = { payload: 'Your statement is ready' };
/** Whoever runs processes kills them after this. */
const STOP_MS_MAX = 10_000;
/** An end that waits for no grace period to pass. Each of them takes longer. */
const PROMPT_MS_MAX = 3_000;

type Server = RunningProcess & { url: string };
type Notification = { id: string; status: string; counts: { published: number; by_channel: unknown } };

let folder: string;
/** What the tests have opened: those that run at the same time end together. */
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'server-'));
});

afterAll(async () => {
  await killProcesses();
  for (const close of closers) await close();
  await rm(folder, { recursive: true });
});

/** The variables the SDK reads, and a port of the system's choice. */
function baseEnv(): Record<string, string> {
  const credentials = { AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' };
  return { AWS_REGION: 'us-east-1', AWS_ENDPOINT_URL: inject('emulatorUrl'), ...credentials, PORT: '0', AUTH: 'off' };
}

/** A database and a topic that processes may share. */
async function prepare() {
  const DATABASE_URL = await createTestDatabase();
  const { topicArn, queueUrls } = await provisionTopology({ ...createClients(), name: `test-${randomUUID()}` });
  const db = createDatabase({ url: DATABASE_URL, poolMax: 1 });
  closers.push(() => db.$disconnect());
  return { env: { ...baseEnv(), DATABASE_URL, SNS_TOPIC_ARN: topicArn }, db, queueUrls };
}

function spawnServer(env: Record<string, string>, cwd = folder): RunningProcess {
  return startProcess('server.js', { cwd, env });
}

async function startServer(env: Record<string, string>, cwd = folder): Promise<Server> {
  const server = spawnServer(env, cwd);
  const [, url = ''] = await server.print(/"url":"(http[^"]+)"/);
  return { ...server, url };
}

async function addUser(db: Database, user_id: number): Promise<void> {
  await db.user.create({ data: { user_id, email: `user${user_id}@example.com`, phone: '+15550000001' } });
  await db.preference.create({ data: { user_id, email_enabled: true, sms_enabled: true } });
}

async function sendNotification(server: Server, body: object, headers = {}): Promise<Notification> {
  return (await call(server, 'POST', '/notifications', { ...STATEMENT, ...body }, headers)).body as Notification;
}

async function getNotification(server: Server, id: string): Promise<Notification> {
  return (await call(server, 'GET', `/notifications/${id}`)).body as Notification;
}

async function waitForStatus(server: Server, id: string, status: string): Promise<void> {
  await waitFor(`status ${status}`, async () => (await getNotification(server, id)).status === status);
}

/** Sends a signal and waits for the end. Returns how long that took, with the exit code. */
async function stop(server: RunningProcess, signal: NodeJS.Signals) {
  const start = Date.now();
  server.kill(signal);
  const { code } = await server.exited;
  return { code, ms: Date.now() - start };
}

describe('the process with a wrong environment', () => {
  it('names every wrong or missing variable in one message and ends with 1', async () => {
    const server = spawnServer({
      ...{ DATABASE_URL: 'mysql://db', PORT: 'http', ROLE: 'boss', PAGE_USERS: '0' },
      AWS_EC2_METADATA_DISABLED: 'true',
    });

    expect(await server.exited).toEqual({ code: 1, signal: null });
    for (const variable of [
      'DATABASE_URL',
      'SNS_TOPIC_ARN',
      'PORT',
      'ROLE',
      'PAGE_USERS',
      'AWS_REGION',
      'AWS credentials',
    ]) {
      expect(server.output.stderr).toMatch(new RegExp(`^ {2}${variable} `, 'm'));
    }
    expect(server.output.stderr).not.toMatch(/^ {4}at /m);
    expect(server.output.stdout).toBe('');
  });

  it('names what the AWS SDK misses', async () => {
    const { env } = await prepare();
    const { DATABASE_URL, SNS_TOPIC_ARN } = env;
    const server = spawnServer({ DATABASE_URL, SNS_TOPIC_ARN, AWS_EC2_METADATA_DISABLED: 'true' });

    expect(await server.exited).toEqual({ code: 1, signal: null });
    expect(server.output.stderr).toMatch(/^.*\n {2}AWS_REGION is required\n {2}AWS credentials are required.*\n$/);
  });

  it('names a port in use, and ends by itself', async () => {
    const { env } = await prepare();
    const other = createTcpServer().listen(0, '127.0.0.1');
    closers.push(() => other.close());
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const server = spawnServer({ ...env, PORT: `${port}` });

    expect(await server.exited).toEqual({ code: 1, signal: null });
    expect(server.output.stderr).toMatch(new RegExp(`^.*\n {2}PORT ${port} is already in use on 127.0.0.1.*\n$`));
  });
});

describe('the process', () => {
  afterEach(killProcesses);

  it('reads .env, where the environment does not say otherwise', async () => {
    const { env } = await prepare();
    const lines = Object.entries({ ...env, PORT: '80', LOG_LEVEL: 'debug' }).map(([name, value]) => `${name}=${value}`);
    const cwd = await mkdtemp(join(folder, 'env-'));
    await writeFile(join(cwd, '.env'), lines.join('\n'));
    const server = await startServer({ PORT: '0' }, cwd);

    expect(await call(server, 'GET', '/health/ready')).toMatchObject({ status: 200 });
    expect(new URL(server.url).port).not.toBe('80');
  });

  it('logs one JSON object a line, to the end', async () => {
    const { env } = await prepare();
    const server = await startServer(env);
    await call(server, 'GET', '/users');
    // The caller has the reply a moment before it is logged.
    await server.print(/"msg":"request"/);
    await stop(server, 'SIGINT');

    const logs = server.output.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string });
    // Retention goes its own way meanwhile.
    const foreign = /^(Server listening|old notifications removed)/;
    expect(logs.map(({ msg }) => msg).filter((msg) => !foreign.test(msg))).toEqual([
      'listening',
      'without authentication: everyone who can connect may do everything',
      ...['request', 'stopping', 'stopped'],
    ]);
    expect(server.output.stderr).toBe('');
  });

  it('starts without its database, says that it is not ready, and is once the database is there', async () => {
    const { env } = await prepare();
    const { url, open, close } = await createGateway(env.DATABASE_URL);
    const server = await startServer({ ...env, DATABASE_URL: url });
    const isReady = async () => (await call(server, 'GET', '/health/ready')).status === 200;

    const before = await call(server, 'GET', '/health/ready');
    const refused = await call(server, 'GET', '/users');
    await open();
    await waitFor('the process to be ready', isReady);
    const after = await call(server, 'GET', '/users');
    close();
    await waitFor('the process not to be ready', async () => !(await isReady()));

    expect(before).toMatchObject({
      status: 503,
      body: { status: 'not ready', checks: { database: 'failed', topic: 'ok' } },
    });
    expect(refused).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    expect(after).toMatchObject({ status: 200, body: [] });
    expect(await stop(server, 'SIGINT')).toMatchObject({ code: 0 });
  });

  it('accepts and does not dispatch as ROLE=api, dispatches and answers nothing but health as ROLE=dispatcher', async () => {
    const { env, db, queueUrls } = await prepare();
    await addUser(db, 1);
    const api = await startServer({ ...env, ROLE: 'api' });
    const accepted = await sendNotification(api, {}, { prefer: 'wait=1' });
    const dispatcher = await startServer({ ...env, ROLE: 'dispatcher' });
    await waitForStatus(api, accepted.id, 'completed');

    expect(accepted.status).toBe('queued');
    expect(await call(dispatcher, 'GET', '/health/ready')).toMatchObject({ status: 200 });
    expect(await call(dispatcher, 'GET', '/users')).toMatchObject({ status: 404 });
    expect(await call(dispatcher, 'GET', '/docs')).toMatchObject({ status: 404 });
    expect(await drainQueue(queueUrls.email)).toHaveLength(1);
  });

  it('shares a broadcast with another one: everybody is told exactly once', async () => {
    const { env, db, queueUrls } = await prepare();
    // Enough pages to be under way when the other one polls, which it does within half a second.
    const users = 3_000;
    await db.$executeRaw`insert into users select id, 'user' || id || '@example.com', null from generate_series(1, ${users}::int) id`;
    await db.$executeRaw`insert into preferences select id, true, true from generate_series(1, ${users}::int) id`;
    const options = { PAGE_USERS: '5', LOG_LEVEL: 'debug', DISPATCH_CONCURRENCY: '1', PUBLISH_CONCURRENCY: '1' };
    const servers = await Promise.all([startServer({ ...env, ...options }), startServer({ ...env, ...options })]);
    const { id } = await sendNotification(servers[0], {});
    await waitForStatus(servers[1], id, 'completed');

    const messages = await drainQueue(queueUrls.email);
    const told = messages.flatMap(({ body }) => body.data.recipients.map(({ user_id }) => user_id));
    expect(told.toSorted((a, b) => a - b)).toEqual(Array.from({ length: users }, (_user, index) => index + 1));
    expect(await getNotification(servers[0], id)).toMatchObject({ counts: { published: users, pending: 0 } });
    const settled = servers.map(({ output }) => output.stdout.match(/page settled/g)?.length ?? 0);
    expect(Math.min(...settled)).toBeGreaterThan(0);
  });
});

describe.concurrent('a stop of the process', () => {
  it('answers a caller who waits, and is not held up by idle connections', async () => {
    const { env, db } = await prepare();
    const server = await startServer(env);
    const send_at = new Date(Date.now() + 3_600_000).toISOString();
    const waiting = call(server, 'POST', '/notifications', { ...STATEMENT, send_at }, { prefer: 'wait=30' });
    await waitFor('the notification', () => db.notification.count());
    await call(server, 'GET', '/users');
    const { code, ms } = await stop(server, 'SIGINT');

    expect(await waiting).toMatchObject({ status: 202, body: { status: 'scheduled' } });
    expect(code).toBe(0);
    expect(ms).toBeLessThan(PROMPT_MS_MAX);
  });

  it('finishes a request that is still coming in', async () => {
    const { env, db } = await prepare();
    const server = await startServer(env);
    const request = await openRequest(server.url, JSON.stringify(STATEMENT));
    server.kill('SIGINT');
    await waitFor(
      'the process to refuse connections',
      async () => !(await isListening(Number(new URL(server.url).port))),
    );
    const answer = await request.finish();

    expect(answer).toContain('HTTP/1.1 202 Accepted');
    expect(answer.toLowerCase()).toContain('connection: close');
    expect(await server.exited).toEqual({ code: 0, signal: null });
    expect(await db.notification.count()).toBe(1);
  });

  it('waits no longer than its time for a request that never comes', async () => {
    const { env } = await prepare();
    const server = await startServer(env);
    const { drop } = await openRequest(server.url, '{}');
    const silent = connect(Number(new URL(server.url).port), '127.0.0.1');
    closers.push(drop);
    silent.on('error', () => undefined);
    await once(silent, 'connect');
    const { code, ms } = await stop(server, 'SIGTERM');

    expect(code).toBe(0);
    expect(ms).toBeLessThan(STOP_MS_MAX);
  });

  it('is not ready on SIGTERM, but serves those who do not know yet', async () => {
    const { env } = await prepare();
    const server = await startServer(env);
    const start = Date.now();
    server.kill('SIGTERM');
    await server.print(/"msg":"stopping"/);
    const ready = await call(server, 'GET', '/health/ready');
    const late = await call(server, 'POST', '/notifications', STATEMENT);
    const { code } = await server.exited;

    expect(ready.headers.get('connection')).toBe('close');
    expect(ready).toMatchObject({ status: 503, body: { status: 'draining', checks: { database: 'ok', topic: 'ok' } } });
    expect(late.status).toBe(202);
    expect(code).toBe(0);
    expect(Date.now() - start).toBeLessThan(STOP_MS_MAX);
  });

  it('finishes the page that is being published', async () => {
    const { env, db, queueUrls } = await prepare();
    await addUser(db, 1);
    const sns = await startSlowSns();
    const server = await startServer({ ...env, AWS_ENDPOINT_URL: sns.url });
    const { id } = await sendNotification(server, {});
    await waitFor('SNS to be called', () => sns.calls.length > 0);
    server.kill('SIGINT');
    await server.print(/"msg":"stopping"/);
    sns.answer();

    expect(await server.exited).toEqual({ code: 0, signal: null });
    expect(await db.notification.findUnique({ where: { id } })).toMatchObject({ status: 'completed' });
    expect(await drainQueue(queueUrls.email)).toHaveLength(1);
  });

  it('gives a page back while SNS hangs, and another process publishes it at once', async () => {
    const { env, db, queueUrls } = await prepare();
    await addUser(db, 1);
    const sns = await startSlowSns();
    const server = await startServer({ ...env, AWS_ENDPOINT_URL: sns.url, LEASE_SECONDS: '300' });
    const { id } = await sendNotification(server, {});
    await waitFor('SNS to be called', () => sns.calls.length > 0);
    const { code, ms } = await stop(server, 'SIGTERM');
    const next = await startServer({ ...env, LEASE_SECONDS: '300' });
    await waitForStatus(next, id, 'completed');

    expect(code).toBe(0);
    expect(ms).toBeLessThan(STOP_MS_MAX);
    expect(await drainQueue(queueUrls.email)).toHaveLength(1);
  });

  it('ends at once on a second Ctrl-C', async () => {
    const { env } = await prepare();
    const server = await startServer(env);
    const { drop } = await openRequest(server.url, '{}');
    closers.push(drop);
    server.kill('SIGINT');
    await waitFor('the end', () => !server.kill('SIGINT'));

    expect(await server.exited).toEqual({ code: 1, signal: null });
    expect(server.output.stdout).toContain('second SIGINT');
  });
});

/** A way to the database that is closed at first. */
async function createGateway(databaseUrl: string) {
  const url = new URL(databaseUrl);
  const upstream = Number(url.port);
  const sockets = new Set<Socket>();
  const gateway = createTcpServer((socket) => {
    const onward = connect(upstream, '127.0.0.1');
    for (const end of [socket, onward]) sockets.add(end.on('error', () => undefined));
    socket.pipe(onward).pipe(socket);
  });
  const close = () => {
    gateway.close();
    for (const socket of sockets) socket.destroy();
  };
  closers.push(close);
  url.port = `${await findFreePort()}`;
  const open = async () => {
    gateway.listen(Number(url.port), '127.0.0.1');
    await once(gateway, 'listening');
  };
  return { url: url.href, open, close };
}

/** SNS behind a gate: calls to publish wait until `answer`, and then reach the emulator. */
async function startSlowSns() {
  const calls: string[] = [];
  const gate = new EventEmitter();
  const opened = once(gate, 'open');
  const forward = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await text(request);
    calls.push(body);
    await opened;
    const { host: _host, 'content-length': _length, connection: _connection, ...headers } = request.headers;
    const reply = await fetch(inject('emulatorUrl'), {
      method: 'POST',
      headers: headers as Record<string, string>,
      body,
    });
    response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? '' });
    response.end(await reply.text());
  };
  // A caller that is killed hangs up.
  const server = createServer((request, response) => void forward(request, response).catch(() => response.destroy()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls, answer: () => gate.emit('open') };
}
