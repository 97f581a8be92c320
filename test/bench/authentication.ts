import type { FastifyInstance } from 'fastify';
import { afterAll, expect, it } from 'vitest';
import { createAuthenticator } from '../../src/auth/authenticate.ts';
import { configSchema, parseConfig } from '../../src/config.ts';
import { createDatabase } from '../../src/database.ts';
import { startTestApp } from '../support/app.ts';
import { bearer, createTestKey, startIssuer } from '../support/auth.ts';
import { createTestDatabase } from '../support/database.ts';

/**
 * Rounds of each way to call, in turn, so that a slow moment of the machine meets all of them. In one process: two of the
 * same program differ by a tenth, by how the compiler happened to see them.
 */
const ROUNDS = 60;
const REQUESTS = 512;
const AT_ONCE = 64;
/** What authentication may add to the CPU time of the cheapest call. */
const GOALS = { key: 1.1, token: 1.15 };

type Way = { name: string; app: FastifyInstance; headers: Record<string, string>; microseconds: number[] };

const closers: (() => Promise<unknown>)[] = [];

afterAll(async () => {
  for (const close of closers.toReversed()) await close();
});

it('costs little on GET /preferences/{user_id}', { timeout: 300_000 }, async () => {
  const ways = await openWays();
  for (let round = 0; round < ROUNDS; round++) for (const way of ways) await measureRound(way);
  for (const way of ways) way.microseconds = [];
  for (let round = 0; round < ROUNDS; round++) for (const way of ways) await measureRound(way);

  const [off = Number.NaN, again = Number.NaN, key = Number.NaN, token = Number.NaN] = ways.map(findMedian);
  const ratios = { key: key / off, token: token / off };
  for (const way of ways) console.log(`${way.name}: ${findMedian(way).toFixed(1)} µs CPU a request`);
  console.log(`the machine ${(again / off).toFixed(3)} ×, key ${ratios.key.toFixed(3)} × (goal ${GOALS.key})`);
  console.log(`token ${ratios.token.toFixed(3)} × (goal ${GOALS.token})`);
  expect(ratios.key).toBeLessThanOrEqual(GOALS.key);
  expect(ratios.token).toBeLessThanOrEqual(GOALS.token);
});

/** The same server, with authentication off, off again (what differs is the machine's doing), and on. */
async function openWays(): Promise<Way[]> {
  const DATABASE_URL = await createTestDatabase();
  const db = createDatabase({ url: DATABASE_URL, poolMax: 5 });
  const issuer = await startIssuer();
  closers.push(() => db.$disconnect(), issuer.stop);
  const key = await createTestKey(db, { name: 'bench' });
  const token = await issuer.sign({ scope: 'preferences:read' });
  await db.preference.create({ data: { user_id: 42, email_enabled: true, sms_enabled: false } });

  const SNS_TOPIC_ARN = 'arn:aws:sns:us-east-1:000000000000:bench';
  const open = async (name: string, AUTH: string, headers: Record<string, string>): Promise<Way> => {
    const config = parseConfig(configSchema, { DATABASE_URL, SNS_TOPIC_ARN, AUTH, ...issuer.env });
    const { app, stop } = await startTestApp({ db, authenticate: createAuthenticator(config, db) });
    closers.push(stop);
    return { name, app, headers, microseconds: [] };
  };
  return [
    await open('without', 'off', {}),
    await open('without, again', 'off', {}),
    await open('with a key', 'on', bearer(key)),
    await open('with a JWT', 'on', bearer(token)),
  ];
}

/** Sends `REQUESTS` past the socket and notes the CPU time of each, PostgreSQL's not included, in microseconds. */
async function measureRound({ app, headers, microseconds }: Way): Promise<void> {
  let left = REQUESTS;
  const lane = async () => {
    while (left-- > 0) {
      const { statusCode } = await app.inject({ url: '/preferences/42', headers });
      if (statusCode !== 200) throw new Error(`It answers ${statusCode}.`);
    }
  };
  const before = process.cpuUsage();
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  const { user, system } = process.cpuUsage(before);
  microseconds.push((user + system) / REQUESTS);
}

function findMedian({ microseconds }: Way): number {
  return microseconds.toSorted((a, b) => a - b)[Math.floor(microseconds.length / 2)] ?? Number.NaN;
}
