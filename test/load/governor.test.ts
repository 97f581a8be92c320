import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase, type Database } from '../../src/database.ts';
import { type CountingSink, startCountingSink } from '../support/counting-sink.ts';
import { createTestDatabase } from '../support/database.ts';
import { accept, readCounts, TOPIC_ARN } from '../support/dispatch.ts';
import { killProcesses, startProcess, waitFor } from '../support/process.ts';

const WINDOW_MS = 10_000;
/** From one window to the next. */
const SLIDE_MS = 250;
/** After the first message of one process, until all of them have found the work. */
const STARTING_MS = 1_000;

let folder: string;
let sink: CountingSink;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'governor-'));
  sink = await startCountingSink();
});

afterEach(async () => {
  await killProcesses();
  sink.stop();
  await rm(folder, { recursive: true });
});

/** A database of `users` users, all to be told by e-mail, and as many dispatching processes on it, ready. */
async function startFleet(processes: number, users: number, variables: Record<string, string> = {}): Promise<Database> {
  const DATABASE_URL = await createTestDatabase();
  const db = createDatabase({ url: DATABASE_URL, poolMax: 2 });
  onTestFinished(() => db.$disconnect());
  await db.$executeRaw`
    insert into users (user_id, email) select n, 'user' || n || '@example.com' from generate_series(1, ${users}::int) n`;
  await db.$executeRaw`insert into preferences (user_id, email_enabled) select user_id, true from users`;
  const aws = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' };
  const service = { SNS_TOPIC_ARN: TOPIC_ARN, ROLE: 'dispatcher', PORT: '0', AUTH: 'off', LOG_LEVEL: 'info' };
  const env = { ...aws, AWS_ENDPOINT_URL: sink.url, DATABASE_URL, ...service, ...variables };
  const fleet = Array.from({ length: processes }, () => startProcess('server.js', { cwd: folder, env }));
  await Promise.all(fleet.map((server) => server.print(/"url":"http/)));
  return db;
}

/** Messages accepted in each of the windows that fit in a time. */
function countWindows(from: number, to: number): number[] {
  const starts = Math.floor((to - from - WINDOW_MS) / SLIDE_MS) + 1;
  return Array.from({ length: starts }, (_, n) => sink.count(from + n * SLIDE_MS, from + n * SLIDE_MS + WINDOW_MS));
}

describe('PUBLISH_RATE_LIMIT', () => {
  it('is used by three processes together in every 10 s, and not exceeded', async () => {
    const limit = 600;
    const db = await startFleet(3, 30_000, { PUBLISH_RATE_LIMIT: String(limit) });
    const id = await accept(db);
    await waitFor('the first messages', () => sink.calls.accepted > 0);
    const start = sink.firstAt();

    await sleep(2 * WINDOW_MS + 5_000);

    const end = performance.now();
    // From the very first message on, as it is at the beginning that too many are the likeliest.
    const most = Math.max(...countWindows(start, end));
    const least = Math.min(...countWindows(start + STARTING_MS, end));
    console.info(`messages per 10 s: ${least} to ${most} of ${limit * 10}`);
    expect(most).toBeLessThanOrEqual(limit * 10 * 1.05);
    expect(least).toBeGreaterThanOrEqual(limit * 10 * 0.95);
    expect(await readCounts(db, id)).toMatchObject({ failed: 0 });
  });
});

describe('throttling by SNS, at a rate that nobody told', () => {
  it('is adapted to, fails nobody, and is forgotten within 10 s of its end', async () => {
    const rate = 500;
    const db = await startFleet(2, 200_000);
    sink.throttle(rate);
    const id = await accept(db);
    await waitFor('the first messages', () => sink.calls.accepted > 0);

    await sleep(30_000);
    const adapted = performance.now();
    await sleep(WINDOW_MS);
    const used = sink.count(adapted, adapted + WINDOW_MS) / (rate * 10);
    const calls = { ...sink.calls };
    sink.throttle(Number.POSITIVE_INFINITY);
    const liftedAt = performance.now();
    await sleep(WINDOW_MS);
    // The best second, as a fast machine may have reached the end of the broadcast by then.
    const seconds = Array.from({ length: WINDOW_MS / 1_000 }, (_, n) => liftedAt + n * 1_000);
    const lifted = Math.max(...seconds.map((second) => sink.count(second, second + 1_000)));

    console.info(
      `used ${used} of the rate, ${calls.throttled} calls throttled, ${calls.accepted} accepted; then ${lifted}/s`,
    );
    expect(used).toBeGreaterThanOrEqual(0.9);
    expect(lifted).toBeGreaterThanOrEqual(5 * rate);
    expect(await readCounts(db, id)).toMatchObject({ failed: 0 });
  });
});
