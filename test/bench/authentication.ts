import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { afterAll, expect, inject, it } from 'vitest';
import { createDatabase } from '../../src/database.ts';
import { findFreePort } from '../../src/local/postgres.ts';
import { createClients } from '../../src/topology/clients.ts';
import { provisionTopology } from '../../src/topology/provision.ts';
import { bearer, createTestKey, startIssuer } from '../support/auth.ts';
import { createTestDatabase } from '../support/database.ts';
import { killProcesses, startProcess } from '../support/process.ts';
import { call } from '../support/service.ts';

/** Rounds of each way to call, in turn, so that a slow moment of the machine meets all of them. */
const ROUNDS = 6;
/** Processes of each: two of the same program may differ by a tenth, by how the compiler happened to see them. */
const PROCESSES = 3;
const REQUESTS = 6_000;
const CONNECTIONS = 64;
/** What authentication may add to the CPU time of the cheapest call. */
const GOALS = { key: 1.1, token: 1.15 };

const WAYS = ['without', 'with a key', 'with a JWT'] as const;
type Way = (typeof WAYS)[number];
type Contender = { way: Way; url: string; headers: Record<string, string>; microseconds: number[] };

afterAll(killProcesses);

it('costs little on GET /preferences/{user_id}', { timeout: 300_000 }, async () => {
  const contenders = await startContenders();
  for (const contender of contenders) await measureRound(contender);
  for (const contender of contenders) contender.microseconds = [];
  for (let round = 0; round < ROUNDS; round++) for (const contender of contenders) await measureRound(contender);

  const cost = (way: Way) => findMedian(contenders.filter((one) => one.way === way).flatMap((one) => one.microseconds));
  const ratios = { key: cost('with a key') / cost('without'), token: cost('with a JWT') / cost('without') };
  for (const way of WAYS) console.log(`${way}: ${cost(way).toFixed(1)} µs CPU a request`);
  console.log(
    `key ${ratios.key.toFixed(3)} × (goal ${GOALS.key}), token ${ratios.token.toFixed(3)} × (goal ${GOALS.token})`,
  );
  expect(ratios.key).toBeLessThanOrEqual(GOALS.key);
  expect(ratios.token).toBeLessThanOrEqual(GOALS.token);
});

/** The same program several times, on one database: without authentication, called with a key, called with a cached JWT. */
async function startContenders(): Promise<Contender[]> {
  const DATABASE_URL = await createTestDatabase();
  const db = createDatabase({ url: DATABASE_URL, poolMax: 1 });
  const key = await createTestKey(db, { name: 'bench' });
  await db.preference.create({ data: { user_id: 42, email_enabled: true, sms_enabled: false } });
  await db.$disconnect();
  const issuer = await startIssuer();
  const token = await issuer.sign({ scope: 'preferences:read metrics:read' });
  const { topicArn } = await provisionTopology({ ...createClients(), name: `bench-${randomUUID()}` });
  const cwd = await mkdtemp(join(tmpdir(), 'bench-'));
  afterAll(async () => {
    await issuer.stop();
    await rm(cwd, { recursive: true });
  });

  const env = {
    ...{
      DATABASE_URL,
      SNS_TOPIC_ARN: topicArn,
      PORT: '0',
      ROLE: 'api',
      LOG_LEVEL: 'warn',
      DATABASE_POOL_MAX: '5',
      ...issuer.env,
    },
    ...{ AWS_REGION: 'us-east-1', AWS_ENDPOINT_URL: inject('emulatorUrl') },
    ...{ AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
    ...{ RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_PRINCIPAL: '0' },
  };
  const headers = { without: {}, 'with a key': bearer(key), 'with a JWT': bearer(token) };
  const start = async (way: Way): Promise<Contender> => {
    const port = await findFreePort();
    const url = `http://127.0.0.1:${port}`;
    const AUTH = way === 'without' ? 'off' : 'on';
    startProcess('server.js', { cwd, env: { ...env, AUTH, PORT: `${port}` } });
    await expect.poll(() => isReady(url), { timeout: 20_000 }).toBe(true);
    return { way, url, headers: headers[way], microseconds: [] };
  };
  const contenders: Contender[] = [];
  for (let n = 0; n < PROCESSES; n++) for (const way of WAYS) contenders.push(await start(way));
  return contenders;
}

async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/health/ready`).then(
    ({ ok }) => ok,
    () => false,
  );
}

/** Sends `REQUESTS` and notes the CPU time that the process spent on each, in microseconds. */
async function measureRound({ url, headers, microseconds }: Contender): Promise<void> {
  const before = await readCpuSeconds(url, headers);
  const target = { url: `${url}/preferences/42`, headers };
  const result = await autocannon({ ...target, connections: CONNECTIONS, amount: REQUESTS });
  const seconds = (await readCpuSeconds(url, headers)) - before;
  expect({ ok: result['2xx'], other: result.non2xx + result.errors }).toEqual({ ok: REQUESTS, other: 0 });
  microseconds.push((seconds / REQUESTS) * 1e6);
}

async function readCpuSeconds(url: string, headers: Record<string, string>): Promise<number> {
  const { text } = await call({ url }, 'GET', '/metrics', undefined, headers);
  return Number(/^process_cpu_seconds_total (\S+)/m.exec(text)?.[1]);
}

function findMedian(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
