import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GetQueueUrlCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { findFreePort } from '../src/local/postgres.ts';
import {
  findCommands,
  isListening,
  killProcesses,
  openRequest,
  type RunningProcess,
  startProcess,
  waitFor,
} from './support/process.ts';
import { call } from './support/service.ts';

const STATEMENT = { payload: 'Your statement is ready' };
/** Answers once dispatched: everything is in the queues then. */
const WAIT = { prefer: 'wait=20' };

type Notification = { id: string; status: string; counts: { by_channel: { email: number; sms: number } } };

let folder: string;

function spawnLocal(env: Record<string, string> = {}): RunningProcess {
  const ports = { PORT: '0', LOCAL_POSTGRES_PORT: '0', LOCAL_AWS_PORT: '0' };
  return startProcess('local.js', { cwd: folder, env: { ...ports, LOCAL_DIR: 'data', ...env } });
}

async function startLocal(env: Record<string, string> = {}): Promise<RunningProcess & { url: string }> {
  const local = spawnLocal(env);
  await local.print(/Ctrl-C stops everything/);
  const [, url = ''] = await local.print(/API +(http:\S+)/);
  return { ...local, url };
}

async function createFolder(): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), 'local-'));
}

async function removeFolder(): Promise<void> {
  await killProcesses();
  await waitFor('every process of the folder to end', () => findCommands(folder).length === 0);
  await rm(folder, { recursive: true, force: true });
}

async function readPostgresPid(): Promise<number> {
  const [pid] = (await readFile(join(folder, 'data/postgres/postmaster.pid'), 'utf8')).split('\n');
  return Number(pid);
}

/** The files in which PostgreSQL is told its first password. */
async function findPasswords(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith('pg-password'));
}

function expectNothingLeft(): void {
  expect(findCommands(folder)).toEqual([]);
  expect(existsSync(join(folder, 'data/postgres/postmaster.pid'))).toBe(false);
}

describe('the local mode', () => {
  let local: Awaited<ReturnType<typeof startLocal>>;

  beforeAll(async () => {
    await createFolder();
    local = await startLocal();
  });

  afterAll(removeFolder);

  it('prints where everything is, and all of it answers', async () => {
    const urls = local.output.stdout.match(/http:\/\/127\.0\.0\.1:\d+\S*(?=\n)/g);
    const ready = await call(local, 'GET', '/health/ready');

    expect(urls).toEqual([local.url, `${local.url}/docs`, `${local.url}/redoc`]);
    for (const url of [`${local.url}/users`, ...(urls ?? []).slice(1)]) expect((await fetch(url)).status).toBe(200);
    expect(ready).toMatchObject({ status: 200, body: { status: 'ready' } });
    expect(local.output.stderr).toBe('');
  });

  it('prints a line for every message to a few', async () => {
    const before = local.output.stdout.length;
    const user_ids = [1, 2, 3, 4, 5];
    await call(local, 'POST', '/notifications', { payload: 'Your card\nis ready', user_ids }, WAIT);
    await waitFor('four lines', () => local.output.stdout.slice(before).split('\n').length > 4);

    const lines = local.output.stdout.slice(before).trim().split('\n');
    expect(lines.toSorted()).toEqual([
      'email → ada@example.com: Your card is ready',
      'email → grace@example.com: Your card is ready',
      'sms → +15550000001: Your card is ready',
      'sms → +15550000004: Your card is ready',
    ]);
  });

  it('has demo users of every kind', async () => {
    const reply = await call(local, 'POST', '/notifications', { ...STATEMENT, channels: ['email'] }, WAIT);

    expect(reply).toMatchObject({
      status: 200,
      body: { counts: { targeted: 100, suppressed: { no_preferences: 10, opted_out: 30, no_contact: 10 } } },
    });
  });

  it('prints a curl that works, and totals that match the counts', async () => {
    const [, command = ''] = await local.print(/^ *(curl .+)$/m);
    const { id } = await runCurl(command);
    await waitFor('the end of the dispatch', async () => (await getNotification(local, id)).status === 'completed');
    const notifications = (await call(local, 'GET', '/notifications')).body as Notification[];
    const total = (channel: 'email' | 'sms') =>
      notifications.reduce((sum, { counts }) => sum + counts.by_channel[channel], 0);

    expect(notifications[0]).toMatchObject({ id, payload: 'Your statement is ready' });
    expect(await getNotification(local, id)).toMatchObject({ counts: { by_channel: { email: 50, sms: 40 } } });
    await local.print(new RegExp(`email → \\d+ in the last second \\(${total('email')} so far\\)`));
    await local.print(new RegExp(`sms → \\d+ in the last second \\(${total('sms')} so far\\)`));
  });
});

describe('a stop of the local mode', () => {
  beforeEach(createFolder);
  afterEach(removeFolder);

  it('ends with 0 on Ctrl-C, leaves nothing running, and a second start has the data of the first', async () => {
    const [postgresPort, awsPort] = [await findFreePort(), await findFreePort()];
    const ports = { LOCAL_POSTGRES_PORT: String(postgresPort), LOCAL_AWS_PORT: String(awsPort) };
    const first = await startLocal(ports);
    const { id } = (await call(first, 'POST', '/notifications', STATEMENT, WAIT)).body as Notification;
    await call(first, 'DELETE', '/users/3');
    const postgresPid = await readPostgresPid();
    const listening = await Promise.all([postgresPort, awsPort, portOf(first)].map(isListening));
    first.kill('SIGINT');
    const end = await first.exited;

    expect(listening).toEqual([true, true, true]);
    expect(end).toEqual({ code: 0, signal: null });
    expect(first.output.stderr).toBe('');
    expect(await Promise.all([postgresPort, awsPort, portOf(first)].map(isListening))).toEqual([false, false, false]);
    expect(() => process.kill(postgresPid, 0)).toThrow('ESRCH');
    expectNothingLeft();

    const second = await startLocal(ports);
    const users = (await call(second, 'GET', '/users')).body;

    expect(await getNotification(second, id)).toMatchObject({ id, status: 'completed' });
    expect(users).toHaveLength(99);
  });

  it('ends with 0 on SIGTERM', async () => {
    const local = await startLocal();
    local.kill('SIGTERM');
    await local.gone;
    expectNothingLeft();

    expect(await local.exited).toEqual({ code: 0, signal: null });
  });

  it('takes a Ctrl-C that npm passes on to the whole group once more for one', async () => {
    const local = await startLocal();
    const { drop } = await openRequest(local.url, '{}');
    process.kill(-local.pid, 'SIGINT');
    await waitFor('the API to refuse connections', async () => !(await isListening(portOf(local))));
    local.kill('SIGINT');
    drop();

    expect(await local.exited).toEqual({ code: 0, signal: null });
    expect(local.output.stderr).toBe('');
    expectNothingLeft();
  });

  it('ends at once on a second Ctrl-C, while a caller keeps the first one waiting', async () => {
    const local = await startLocal();
    const { drop } = await openRequest(local.url, '{}');
    onTestFinished(drop);
    local.kill('SIGINT');
    await waitFor('the API to refuse connections', async () => !(await isListening(portOf(local))));
    await waitFor('the end', () => !local.kill('SIGINT'));

    expect(await local.exited).toEqual({ code: 1, signal: null });
    expect(local.output.stderr).toContain('second SIGINT');
    await waitFor('PostgreSQL to end', () => findCommands(folder).length === 0);
    expectNothingLeft();
  });

  it.each([
    ['right after the spawn', () => true],
    ['while PostgreSQL creates its files', () => existsSync(join(folder, 'data/postgres.unfinished'))],
    ['while PostgreSQL starts', () => existsSync(join(folder, 'data/postgres/postmaster.pid'))],
  ])('leaves nothing behind when it comes %s', async (_when, condition) => {
    const local = spawnLocal();
    await waitFor('the moment to stop', condition);
    process.kill(-local.pid, 'SIGINT');
    await local.gone;
    expectNothingLeft();

    const { code, signal } = await local.exited;
    // A process that has not yet said what to do on a signal is ended by it.
    expect(code ?? signal).toBeOneOf([0, 'SIGINT']);
    expect(local.output).toEqual({ stdout: '', stderr: '' });
  });
});

describe('the local mode, killed while PostgreSQL creates its files', () => {
  beforeEach(createFolder);
  afterEach(removeFolder);

  it('leaves nothing running and no password behind, and starts again', async () => {
    const killed = spawnLocal({ TMPDIR: folder });
    await waitFor('the password file', async () => (await findPasswords()).length > 0);
    killed.kill('SIGKILL');
    await waitFor('every process of the folder to end', () => findCommands(folder).length === 0);
    const passwords = await findPasswords();
    const next = await startLocal();

    expect(passwords).toEqual([]);
    expect(await call(next, 'GET', '/health/ready')).toMatchObject({ status: 200 });
  });
});

describe('the environment of the local mode', () => {
  beforeEach(createFolder);
  afterEach(removeFolder);

  it('leaves the messages in their queues with LOCAL_SENDERS=off, and has no users with LOCAL_DEMO_USERS=0', async () => {
    const awsPort = await findFreePort();
    const local = await startLocal({ LOCAL_AWS_PORT: `${awsPort}`, LOCAL_SENDERS: 'off', LOCAL_DEMO_USERS: '0' });
    const users = (await call(local, 'GET', '/users')).body;
    await call(local, 'PUT', '/users/42', { email: 'ada@example.com', phone: null });
    await call(local, 'PUT', '/preferences/42', { email_enabled: true, sms_enabled: true });
    await call(local, 'POST', '/notifications', STATEMENT, WAIT);

    expect(users).toEqual([]);
    expect(await receiveBodies(awsPort, 'notifications-email')).toEqual([expect.stringContaining('ada@example.com')]);
    expect(await receiveBodies(awsPort, 'notifications-sms')).toEqual([]);
    expect(local.output.stdout).not.toContain('→');
  });

  it.each(['PORT', 'LOCAL_POSTGRES_PORT', 'LOCAL_AWS_PORT'])('names %s when its port is in use', async (variable) => {
    const port = await occupyPort();
    const local = spawnLocal({ [variable]: `${port}` });

    expect(await local.exited).toEqual({ code: 1, signal: null });
    expect(local.output.stderr).toMatch(new RegExp(`^.*\n {2}${variable} ${port} is already in use on 127.0.0.1.*\n$`));
    expectNothingLeft();
  });

  it('lets in who has the demo key with AUTH=on, and nobody else; every start makes another', async () => {
    const first = await startLocal({ AUTH: 'on' });
    const [, firstKey = ''] = await first.print(/^ {2}Key +(nk_\S+)$/m);
    const [, command = ''] = await first.print(/^ *(curl .+)$/m);
    const refused = await call(first, 'POST', '/notifications', STATEMENT);
    const { id } = await runCurl(command);
    const shown = await call(first, 'GET', `/notifications/${id}`, undefined, { authorization: `Bearer ${firstKey}` });
    first.kill('SIGINT');
    await first.exited;
    const second = await startLocal({ AUTH: 'on' });
    const [, secondKey = ''] = await second.print(/^ {2}Key +(nk_\S+)$/m);
    const ask = (key: string, path = `/notifications/${id}`) =>
      call(second, 'GET', path, undefined, { authorization: `Bearer ${key}` });
    const audit = await ask(secondKey, '/audit?object=api_keys/demo');

    expect(refused).toMatchObject({ status: 401, body: { code: 'credentials_missing' } });
    expect(shown).toMatchObject({ status: 200, body: { id, payload: 'Your statement is ready' } });
    expect(await ask(firstKey)).toMatchObject({ status: 401 });
    expect(await ask(secondKey)).toMatchObject({ status: 200, body: { id } });
    expect(audit.body).toMatchObject([{ action: 'api_key.rotate' }, { action: 'api_key.create' }]);
    expect(first.output.stderr + second.output.stderr).toBe('');
  });

  it('names every wrong variable at once, before anything is started', async () => {
    const local = spawnLocal({
      PORT: 'http',
      LOCAL_DEMO_USERS: '-1',
      LOCAL_SENDERS: 'yes',
      LOG_LEVEL: 'loud',
      AUTH: 'no',
    });

    expect(await local.exited).toEqual({ code: 1, signal: null });
    for (const variable of ['PORT', 'LOCAL_DEMO_USERS', 'LOCAL_SENDERS', 'LOG_LEVEL', 'AUTH']) {
      expect(local.output.stderr).toMatch(new RegExp(`^ {2}${variable} `, 'm'));
    }
    expect(local.output.stderr).not.toMatch(/^ {4}at /m);
    expect(existsSync(join(folder, 'data'))).toBe(false);
  });

  it('is led nowhere else by variables and profiles for AWS and PostgreSQL', async () => {
    const { url, requests } = await startTrap();
    const profile = `region = eu-west-1\nuse_fips_endpoint = true\nendpoint_url = ${url}\n`;
    await mkdir(join(folder, '.aws'));
    await writeFile(join(folder, '.aws/config'), `[default]\n${profile}[profile production]\n${profile}`);
    await writeFile(join(folder, '.env'), `AWS_ENDPOINT_URL=${url}\nDATABASE_URL=postgresql://127.0.0.1:1/none\n`);
    const local = await startLocal({
      ...{
        AWS_PROFILE: 'production',
        AWS_ENDPOINT_URL_SNS: url,
        AWS_ENDPOINT_URL_SQS: url,
        AWS_SESSION_TOKEN: 'token',
      },
      ...{ AWS_CONFIG_FILE: join(folder, '.aws/config'), AWS_USE_DUALSTACK_ENDPOINT: 'true' },
      ...{
        PGHOST: 'nowhere.invalid',
        PGSSLMODE: 'verify-full',
        PGOPTIONS: '-c search_path=elsewhere',
        HOST: '0.0.0.0',
      },
    });
    const reply = await call(local, 'POST', '/notifications', { ...STATEMENT, user_ids: [1] }, WAIT);
    await local.print(/^email → ada@example.com: Your statement is ready$/m);

    expect(reply).toMatchObject({ status: 200, body: { counts: { published: 1, failed: 0 } } });
    expect(new URL(local.url).hostname).toBe('127.0.0.1');
    expect(requests).toEqual([]);
    expect(local.output.stderr).toBe('');
  });
});

function portOf({ url }: { url: string }): number {
  return Number(new URL(url).port);
}

async function getNotification(local: { url: string }, id: string): Promise<Notification> {
  return (await call(local, 'GET', `/notifications/${id}`)).body as Notification;
}

/** Runs the printed command with curl; where there is none, sends what it would. */
async function runCurl(command: string): Promise<{ id: string }> {
  const words = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare = '']) => quoted ?? bare);
  const [curl = '', url = '', ...options] = words;
  const valuesOf = (option: string) => options.filter((_word, index) => options[index - 1] === option);
  const [headers, [body = '']] = [valuesOf('-H'), valuesOf('-d')];
  expect([curl, options.length]).toEqual(['curl', 2 * headers.length + 2]);
  try {
    const { stdout } = await promisify(execFile)(curl, ['--silent', ...words.slice(1)]);
    return JSON.parse(stdout);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const entries = headers.map((line) => line.split(': ') as [string, string]);
    return (await fetch(url, { method: 'POST', headers: entries, body })).json() as Promise<{ id: string }>;
  }
}

async function receiveBodies(awsPort: number, queue: string): Promise<string[]> {
  const endpoint = `http://127.0.0.1:${awsPort}`;
  const sqs = new SQSClient({ endpoint });
  const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: queue }));
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 0 }));
  sqs.destroy();
  return Messages.map(({ Body = '' }) => Body);
}

async function occupyPort(): Promise<number> {
  return Number(new URL((await startTrap()).url).port);
}

/** A server that notes every request, where none is expected. It ends with the test. */
async function startTrap(): Promise<{ url: string; requests: unknown[] }> {
  const requests: unknown[] = [];
  const server = createServer((request, response) => {
    requests.push(request.url);
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}
