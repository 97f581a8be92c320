import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDatabase, type Database } from '../src/database.ts';
import { startTestApp, type TestApp } from './support/app.ts';
import { createTestKey, startGuardedService } from './support/auth.ts';
import { createTestDatabase } from './support/database.ts';
import { addUsers, createDeps, dispatchAll, emptyDatabase, range } from './support/dispatch.ts';
import { runNotify, startLine, startNotify } from './support/notify.ts';
import { killProcesses, type RunningProcess, startProcess } from './support/process.ts';
import { call } from './support/service.ts';
import { type Sink, startSink } from './support/sink.ts';

const PAYLOAD = ['--payload', 'Your statement is ready'];
/** What begins every drawing of the line. */
const CLEAR_LINE = '\r\u001B[2K';
const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

afterAll(killProcesses);

describe('npm run notify', () => {
  let service: Awaited<ReturnType<typeof startGuardedService>>;

  beforeAll(async () => {
    service = await startGuardedService();
    await addUsers(service.db, range(1, 1200), ['email', 'sms']);
    await service.db.preference.updateMany({ where: { user_id: { gt: 1100 } }, data: { sms_enabled: false } });
    await service.db.preference.deleteMany({ where: { user_id: { gt: 1190 } } });
  });

  beforeEach(() => service.db.notification.deleteMany());

  afterAll(() => service.stop());

  const listSent = () =>
    service.db.notification.findMany({ select: { everyone: true, payload: true, user_ids: true } });

  it('tells the users named, and shows how it ended', async () => {
    const args = [...PAYLOAD, '--subject', 'News', '--user-ids', '1,2', '--user-ids=1150,1195', '--channel', 'sms'];
    const { code, stdout, stderr } = await runNotify(service, args, { key: service.key });
    const [row] = await service.db.notification.findMany();

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(row).toMatchObject({ subject: 'News', user_ids: [1, 2, 1150, 1195], channels: ['sms'] });
    expect(stdout.split('\n\n').slice(1, 2)).toEqual([`Notification ${row?.id} completed`]);
    expect(readTable(stdout)).toMatchObject({
      ...{ told: '2', email: '0', sms: '2', 'not told': '2', 'no preferences': '1', 'opted out': '1' },
      ...{ failed: '0', messages: '2', seconds: expect.stringMatching(/^[\d.]+$/) },
    });
    expect(stdout).not.toMatch(/\r|unknown user|pending/);
    expect(stdout).not.toContain('\u001B');
  });

  it('asks before it tells everyone, with the counts, and tells those who were confirmed', async () => {
    const notify = startNotify(service, [...PAYLOAD, '--everyone'], { key: service.key, columns: 100 });
    await notify.print(/Notify 1,190 users\? \[y\/N\] $/);
    const before = await listSent();
    const preview = readTable(notify.output.stdout);
    notify.type('y\n');
    const { code } = await notify.exited;

    expect(before).toEqual([]);
    expect(preview).toEqual({
      ...{ 'would be told': '1,190', email: '1,190', sms: '1,100' },
      ...{ 'not told': '10', 'no preferences': '10', messages: '1,190', 'seconds at least': '0.1' },
    });
    expect(code).toBe(0);
    expect(await listSent()).toEqual([{ everyone: true, payload: 'Your statement is ready', user_ids: [] }]);
    expect(readTable(notify.output.stdout)).toMatchObject({ told: '1,190', sms: '1,100', 'not told': '10' });
    expect(notify.output.stdout.split(CLEAR_LINE).at(-1)).toMatch(/^100 % \[=+\] 1,200\/1,200 users {2}completed\r\n/);
  });

  it.each([
    ['n', 'n\n', 1],
    ['nothing', '\n', 1],
    ['the end of the input', '\u0004', 1],
    ['Ctrl-C', '\u0003', 130],
  ])('sends nothing where the answer is %s', async (_answer, typed, expected) => {
    const notify = startNotify(service, [...PAYLOAD, '--everyone'], { key: service.key, columns: 100 });
    await notify.print(/\[y\/N\] $/);
    notify.type(typed);

    expect(await notify.exited).toMatchObject({ code: expected });
    expect(notify.output.stdout).toContain('Nothing was sent.');
    expect(await listSent()).toEqual([]);
  });

  it('refuses to tell everyone where there is no terminal to ask on', async () => {
    const { code, stdout, stderr } = await runNotify(service, [...PAYLOAD, '--everyone'], { key: service.key });

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^--everyone needs --yes where there is no terminal to ask on\n\nUsage/);
    expect(await listSent()).toEqual([]);
  });

  it('tells everyone there with --yes, after it has shown the counts', async () => {
    const args = [...PAYLOAD, '--everyone', '--yes'];
    const { code, stdout, stderr } = await runNotify(service, args, { key: service.key });

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Everyone is 1,200 users:\n\n {2}would be told +1,190\n[^?]*\nAccepted as /);
    expect(readTable(stdout)).toMatchObject({ told: '1,190', failed: '0' });
    expect(stdout).not.toContain('\r');
    expect(stdout).not.toContain('\u001B');
  });

  it('shows a problem with every fault, and sends nothing', async () => {
    const args = [...PAYLOAD, '--subject', 'x'.repeat(999), '--user-ids', '1'];
    const { code, stdout, stderr } = await runNotify(service, args, { key: service.key });

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^notify: 400 Bad Request: The request is not valid\.\n {2}body \/subject: Too big.*\n$/);
    expect(await listSent()).toEqual([]);
  });

  it.each([
    ['no key', undefined],
    ['a wrong key', 'nk_wrong'],
  ])('says with %s that API_KEY takes one', async (_case, key) => {
    const options = key === undefined ? {} : { key };
    const { code, stdout, stderr } = await runNotify(service, [...PAYLOAD, '--user-ids', '1'], options);

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^notify: 401 Unauthorized: .+\nThe variable API_KEY takes the key to call with\.\n$/);
  });

  it('says that it goes on, and its id, where the key may send and not read', async () => {
    const key = await createTestKey(service.db, { name: 'sender', scopes: ['notifications:send'] });
    const { code, stdout, stderr } = await runNotify(service, [...PAYLOAD, '--user-ids', '1'], { key });
    const id = UUID.exec(stdout)?.[0];

    expect({ code, stdout }).toEqual({ code: 1, stdout: `Accepted as ${id}\n` });
    expect(stderr).toMatch(/^notify: 403 Forbidden: .+\nThe notification goes on\. To cancel it: curl -X POST /);
    expect(stderr).toContain(`${service.url}/notifications/${id}/cancel -H "authorization: Bearer $API_KEY"\n`);
    expect(stderr).not.toContain(key);
  });
});

describe('npm run notify, while it is dispatched', () => {
  let db: Database;
  let sink: Sink;
  let app: TestApp;

  beforeAll(async () => {
    db = createDatabase({ url: await createTestDatabase(), poolMax: 5 });
  });

  beforeEach(async () => {
    await emptyDatabase(db);
    await addUsers(db, range(1, 100));
    sink = await startSink();
    const deps = createDeps({ db, sns: sink.connect() }, { pageUsers: 50 });
    app = await startTestApp({ db, onAccept: () => void dispatchAll(deps) });
    return app.stop;
  });

  afterAll(() => db.$disconnect());

  /** Starts one to everyone that comes to a halt in its first page. */
  async function startHeld(
    columns: number,
    service: { url: string } = app,
  ): Promise<{ notify: RunningProcess; id: string; release: () => void }> {
    const release = sink.holdReplies();
    const notify = startNotify(service, [...PAYLOAD, '--everyone', '--yes'], { columns });
    const [id = ''] = await notify.print(UUID);
    await notify.print(/0\/~100 users/);
    return { notify, id, release };
  }

  it('ends with 1 when somebody failed, and says how many', async () => {
    sink.answer(() => ({
      fail: ({ id }) => (id.endsWith('7') ? { code: 'InvalidParameter', senderFault: true } : undefined),
    }));
    const { code, stdout } = await runNotify(app, [...PAYLOAD, '--user-ids', range(1, 30).join(',')]);

    expect(code).toBe(1);
    const { told, failed } = readTable(stdout);
    expect(Number(failed)).toBeGreaterThan(0);
    expect(Number(told) + Number(failed)).toBe(30);
  });

  it('ends with 1 when it is canceled, and says how many were not told for that', async () => {
    const { notify, id, release } = await startHeld(80);
    await call(app, 'POST', `/notifications/${id}/cancel`);
    release();

    expect(await notify.exited).toMatchObject({ code: 1 });
    expect(notify.output.stdout).toContain(`Notification ${id} canceled`);
    expect(readTable(notify.output.stdout)).toMatchObject({ told: '50', 'not told': '50', canceled: '50' });
  });

  it.each([24, 80])('draws lines that fit a terminal of %i columns', async (columns) => {
    const { notify, release } = await startHeld(columns);
    release();
    const { code } = await notify.exited;
    const [, ...drawn] = notify.output.stdout.split(CLEAR_LINE);

    expect(code).toBe(0);
    expect(drawn.length).toBeGreaterThan(1);
    expect(Math.max(...drawn.map((line) => line.split('\r')[0]?.length ?? 0))).toBeLessThan(columns);
  });

  it('comes back when the line is cut, and shows how it ended meanwhile', async () => {
    const line = await startLine(app);
    const { notify, id, release } = await startHeld(80, line);
    line.cut();
    await notify.print(/no connection; trying again/);
    release();
    line.mend();

    expect(await notify.exited).toMatchObject({ code: 0 });
    expect(notify.output.stdout).toContain(`Notification ${id} completed`);
    expect(readTable(notify.output.stdout)).toMatchObject({ told: '100', failed: '0' });
  });

  it('stops watching on Ctrl-C, says how to cancel, and the notification goes on', async () => {
    const { notify, id, release } = await startHeld(100);
    notify.type('\u0003');
    const { code } = await notify.exited;
    release();

    expect(code).toBe(130);
    expect(notify.output.stdout).toMatch(
      new RegExp(
        `\\nThe notification goes on\\. To cancel it: curl -X POST ${app.url}/notifications/${id}/cancel\\r\\n$`,
      ),
    );
    await expect
      .poll(async () => (await call(app, 'GET', `/notifications/${id}`)).body, { timeout: 15_000 })
      .toMatchObject({ status: 'completed', counts: { published: 100 } });
  });
});

describe('npm run notify on the local mode', () => {
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'notify-'));
  });

  it('tells the demo users, on a terminal and without', async () => {
    const ports = { PORT: '0', LOCAL_POSTGRES_PORT: '0', LOCAL_AWS_PORT: '0' };
    const local = startProcess('local.js', { cwd: folder, env: { ...ports, LOCAL_DIR: 'data', AUTH: 'on' } });
    const [, url = ''] = await local.print(/API +(http:\S+)/);
    const [, key = ''] = await local.print(/Key +(nk_\S+)/);
    const onTerminal = startNotify({ url }, [...PAYLOAD, '--everyone'], { key, columns: 80 });
    await onTerminal.print(/Notify 70 users\? \[y\/N\] $/);
    onTerminal.type('y\n');
    await onTerminal.exited;
    const without = await runNotify({ url }, [...PAYLOAD, '--everyone', '--yes'], { key });
    local.kill('SIGINT');
    await local.exited;
    await rm(folder, { recursive: true, force: true });

    const outcome = { told: '70', email: '50', sms: '40', 'not told': '30', 'opted out': '10', failed: '0' };
    expect(await onTerminal.exited).toMatchObject({ code: 0 });
    expect(readTable(onTerminal.output.stdout)).toMatchObject(outcome);
    expect(without).toMatchObject({ code: 0, stderr: '' });
    expect(readTable(without.stdout)).toMatchObject(outcome);
  });
});

/** The last table of an output: name → value. */
function readTable(output: string): Record<string, string> {
  const table =
    output
      .replaceAll('\r', '')
      .split('\n\n')
      .findLast((part) => /^ {2}(told|would be told) /.test(part)) ?? '';
  const rows = table.matchAll(/^ +(.+?) {2,}(\S+)$/gm);
  return Object.fromEntries([...rows].map(([, name = '', value = '']) => [name, value]));
}
