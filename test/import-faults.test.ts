import { once } from 'node:events';
import { Client } from 'pg';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { PATIENCE } from '../src/http/limits.ts';
import { startTestApp } from './support/app.ts';
import { importLines, openImport, toLines } from './support/imports.ts';
import { waitFor } from './support/process.ts';
import { drip } from './support/raw.ts';
import { startTestService, type TestService } from './support/service.ts';

/** Lines of a batch. */
const BATCH = 10_000;
/** Lines, of which the process must not take the most while it cannot store them. */
const LARGE = 500_000;
/** Lines, all of which are wrong. */
const WRONG = 200_000;
/** The buffers of both sockets, which the system makes as large as it likes, and two batches. */
const HELD_BYTES_MAX = 10_000_000;
const PIECE = 64 * 1024;

const range = (first: number, count: number) =>
  toLines(Array.from({ length: count }, (_, n) => ({ user_id: first + n, email: `user${first + n}@example.com` })));

async function openService(): Promise<TestService> {
  const service = await startTestService({ ROLE: 'api' });
  onTestFinished(() => service.stop());
  return service;
}

/** Connects to PostgreSQL past the service, to disturb it. */
async function openAdmin(url: string): Promise<Client> {
  const admin = new Client({ connectionString: url });
  admin.on('error', () => undefined);
  await admin.connect();
  onTestFinished(() => admin.end());
  return admin;
}

const countUsers = ({ db }: TestService) => db.user.count();

const errors = (lines: { level?: unknown }[]) => lines.filter(({ level }) => Number(level) >= 50);

describe('a client that stalls', () => {
  it('is told how far it got, and cut off', async () => {
    const app = await startTestApp({ patience: { ...PATIENCE, silenceMs: 500 } });
    onTestFinished(app.stop);
    const { sending, answer } = openImport(app, 'users');

    sending.write(range(1, BATCH + 100));
    const { status, body } = await answer;
    await once(sending, 'close');

    expect(status).toBe(408);
    expect(body).toMatchObject({ code: 'request_timeout', lines: BATCH, stored: BATCH });
    expect(errors(app.lines)).toEqual([]);
  });

  it('may take its time as long as it goes on', async () => {
    const app = await startTestApp({ patience: { ...PATIENCE, arrivalMs: 300, silenceMs: 5_000 } });
    onTestFinished(app.stop);
    const { sending, answer } = openImport(app, 'users');
    const start = performance.now();

    for (let n = 1; performance.now() - start < 1_000; n++) {
      await new Promise((resolve) => sending.write(`{"user_id": ${n}}\n`, resolve));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    sending.end();

    expect(await answer).toMatchObject({ status: 200, body: { rejected: 0 } });
  });

  it('is cut off when it sends next to nothing, as others could not import meanwhile', async () => {
    const app = await startTestApp({ patience: { ...PATIENCE, silenceMs: 500 } });
    onTestFinished(app.stop);
    const { sending, answer } = openImport(app, 'users');

    const dripping = setInterval(() => sending.write(' '), 20);
    const { status, body } = await answer;
    clearInterval(dripping);

    expect({ status, body }).toMatchObject({ status: 408, body: { code: 'request_timeout', lines: 0, stored: 0 } });
  });

  it('is cut off without another answer when it was refused before', async () => {
    const app = await startTestApp({ patience: { ...PATIENCE, arrivalMs: 1_000 } });
    onTestFinished(app.stop);
    const head = 'POST /users/import HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 900\r\n';

    const { status, ms } = await drip(app.url, `${head}\r\n`, 100);

    expect(status).toBe(415);
    expect(Math.round(ms / 1_000)).toBeLessThanOrEqual(3);
    expect(errors(app.lines)).toEqual([]);
  });
});

describe('a client that disconnects half-way', () => {
  it('has stored whole batches, and leaves nothing behind', async () => {
    const service = await openService();
    // Of the two that may run, so that there is room for another only when the one that was left has ended.
    const other = openImport(service, 'preferences');

    for (let round = 0; round < 4; round++) {
      const { sending, answer } = openImport(service, 'users');
      sending.write(range(1 + round * 3 * BATCH, 2 * BATCH + 100));
      const stored = (round + 1) * 2 * BATCH;
      await waitFor('two batches', async () => (await countUsers(service)) === stored);
      sending.destroy();
      await expect(answer).rejects.toThrow('socket hang up');
      await waitFor('the end of the import', async () => (await importLines(service, 'users', '')).status === 200);
      expect(await countUsers(service)).toBe(stored);
    }
    other.sending.end();

    expect(await other.answer).toMatchObject({ status: 200 });
    expect(errors(service.logs)).toEqual([]);
  });
});

describe('an import whose database', () => {
  it('goes away says what is stored, and the rest can be sent again', async () => {
    const service = await openService();
    const admin = await openAdmin(inject('postgresUrl'));
    const { sending, answer } = openImport(service, 'users');
    const database = new URL(service.config.DATABASE_URL).pathname.slice(1);
    const open = (state: boolean) => admin.query(`alter database ${database} with allow_connections ${state}`);

    sending.write(range(1, BATCH));
    await waitFor('a batch', async () => (await countUsers(service)) === BATCH);
    await open(false);
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database]);
    sending.write(range(1 + BATCH, 3 * BATCH));
    const { status, headers, body } = await answer;
    await open(true);
    const again = await importLines(service, 'users', range(1 + BATCH, 3 * BATCH));

    expect(status).toBe(503);
    expect(headers).toMatchObject({ 'retry-after': '2' });
    expect(body).toMatchObject({ code: 'unavailable', lines: BATCH, stored: BATCH });
    expect(body).toMatchObject({
      detail: expect.stringContaining(`The first ${BATCH} lines are done, ${BATCH} of them stored.`),
    });
    expect(again).toMatchObject({ status: 200, body: { stored: 3 * BATCH } });
    expect(await countUsers(service)).toBe(4 * BATCH);
    expect(errors(service.logs)).toEqual([]);
  });

  it('is slow makes the client wait, instead of keeping what it sends', async () => {
    const service = await openService();
    const admin = await openAdmin(service.config.DATABASE_URL);
    const { sending, answer } = openImport(service, 'users');
    await admin.query('begin; lock table users in exclusive mode');

    const text = range(1, LARGE);
    let taken = 0;
    for (let at = 0; at < text.length; at += PIECE) {
      sending.write(text.slice(at, at + PIECE), () => {
        taken += 1;
      });
    }
    sending.end();
    // Nothing moves any more between two looks, of which the second is when the statement has been waiting for a while.
    let before = -1;
    await waitFor('the client to be held back', async () => {
      const { rows } = await admin.query('select 1 from pg_locks where not granted');
      const isHeld = rows.length > 0 && taken === before;
      before = taken;
      return isHeld;
    });
    const kept = taken * PIECE;
    await admin.query('commit');

    expect(kept).toBeLessThan(HELD_BYTES_MAX);
    expect(text.length).toBeGreaterThan(2 * HELD_BYTES_MAX);
    expect(await answer).toMatchObject({ status: 200, body: { stored: LARGE } });
  });
});

describe('an import of nothing but wrong lines', () => {
  it('lets other requests be served meanwhile', async () => {
    const service = await openService();
    const { sending, answer } = openImport(service, 'users');
    const state = { ended: false };
    void answer.then(() => {
      state.ended = true;
    });
    sending.end('{}\n'.repeat(WRONG));

    const times: number[] = [];
    while (!state.ended) {
      const start = performance.now();
      await fetch(`${service.url}/health/live`);
      times.push(performance.now() - start);
    }

    expect(await answer).toMatchObject({ body: { lines: WRONG, rejected: WRONG } });
    // A chunk of 64 KiB has 20,000 of them, which take 0.2 s.
    const median = times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)];
    expect(median).toBeLessThan(80);
  });
});

describe('an import of a process', () => {
  it('that stops is answered, with how far it got', async () => {
    const service = await startTestService({ ROLE: 'api' });
    const { sending, answer } = openImport(service, 'preferences');
    sending.write(toLines(Array.from({ length: BATCH + 1 }, (_, n) => ({ user_id: n + 1 }))));
    await waitFor('a batch', async () => (await service.db.preference.count()) === BATCH);

    const start = performance.now();
    await service.stop();

    expect(performance.now() - start).toBeLessThan(3_000);
    const { status, body } = await answer;
    expect(status).toBe(503);
    expect(body).toMatchObject({ code: 'overloaded', lines: BATCH, stored: BATCH });
    expect(errors(service.logs)).toEqual([]);
  });

  it('that is at its third one is refused, until another has ended', async () => {
    const service = await openService();
    const running = [openImport(service, 'users'), openImport(service, 'preferences')];
    for (const { sending } of running) sending.write('{"user_id": 1}\n');
    const tryAgain = () => importLines(service, 'users', range(1, 100_000));
    await waitFor('both to run', async () => (await importLines(service, 'users', '')).status === 503);

    const refused = await tryAgain();
    for (const { sending } of running) sending.end();
    const answers = await Promise.all(running.map(({ answer }) => answer));
    const taken = await tryAgain();

    expect(refused).toMatchObject({ status: 503, body: { code: 'overloaded' } });
    expect(refused.headers.get('retry-after')).toBe('10');
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(taken.status).toBe(200);
  });
});
