/**
 * The API with authentication off and on, four times in one process: two processes of the same program differ by a tenth, by
 * how the compiler happened to see them.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { buildApp } from '../../src/app.ts';
import { createApiKey } from '../../src/auth/api-keys.ts';
import { createAuthenticator } from '../../src/auth/authenticate.ts';
import { configSchema, parseConfig } from '../../src/config.ts';
import { createDatabase, readPoolUse } from '../../src/database.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import { createLogger } from '../../src/log.ts';
import { answerCalls } from './child.ts';
import { median } from './figures.ts';

/** Of a round. */
const REQUESTS = 512;
const AT_ONCE = 64;
const AUDIENCE = 'notifications';

/** `again` is `off` once more: what differs between them is the machine's doing. */
type Way = 'off' | 'again' | 'key' | 'token';
type Caller = { app: FastifyInstance; headers: Record<string, string>; microseconds: number[] };

const db = createDatabase({ url: process.env['DATABASE_URL'] ?? '', poolMax: 5 });
const ways = await openWays();

const handlers = {
  /** One round of each way, in turn, so that a slow moment of the machine meets all of them. */
  async round(): Promise<void> {
    for (const way of Object.values(ways)) await measureRound(way);
  },
  forget(): void {
    for (const way of Object.values(ways)) way.microseconds = [];
  },
  /** CPU time of a request, PostgreSQL's not included, in µs: the median of the rounds. */
  read(): Record<Way, number> {
    const read = (way: Way) => median(ways[way].microseconds);
    return { off: read('off'), again: read('again'), key: read('key'), token: read('token') };
  },
};
export type AuthenticationHandlers = typeof handlers;

answerCalls(handlers);

async function openWays(): Promise<Record<Way, Caller>> {
  const { env, token } = await startIssuer();
  const caller = {
    name: 'bench',
    scopes: ['preferences:read' as const],
    expiresInSeconds: null,
    dailyRecipients: null,
  };
  const key = await createApiKey(db, caller);
  const open = async (AUTH: string, credentials?: string): Promise<Caller> => ({
    app: await openApp({ AUTH, ...env }),
    headers: credentials === undefined ? {} : { authorization: `Bearer ${credentials}` },
    microseconds: [],
  });
  return {
    off: await open('off'),
    again: await open('off'),
    key: await open('on', key ?? ''),
    token: await open('on', token),
  };
}

async function openApp(variables: Record<string, string>): Promise<FastifyInstance> {
  const config = parseConfig(configSchema, { ...process.env, ...variables });
  const app = await buildApp({
    metrics: createMetrics({ pool: () => readPoolUse(db), lag: null }),
    ...{ db, log: createLogger(config), api: true, stopping: new AbortController().signal },
    ...{ onAccept: () => undefined, authenticate: createAuthenticator(config, db) },
    ...{ rateLimits: { perAddress: 0, perPrincipal: 0 }, trustProxy: [], corsOrigins: [] },
    publishRate: 30_000,
    packing: { pageUsers: config.PAGE_USERS, recipientsPerMessage: config.RECIPIENTS_PER_MESSAGE },
    allowances: { broadcastsPerHour: config.BROADCAST_MAX_PER_HOUR, recipientsPerDay: null },
    readiness: { draining: () => false, checks: { database: async () => undefined, topic: async () => undefined } },
  });
  await app.ready();
  return app;
}

/** A key set, the variables by which it is believed, and a token that it has signed. */
async function startIssuer() {
  const { privateKey, publicKey } = await generateKeyPair('RS256');
  const keys = [{ ...(await exportJWK(publicKey)), kid: 'first', alg: 'RS256', use: 'sig' }];
  const server = createServer((_request, response) => response.end(JSON.stringify({ keys }))).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const token = await new SignJWT({ scope: 'preferences:read' })
    .setProtectedHeader({ alg: 'RS256', kid: 'first' })
    .setIssuer(issuer)
    .setAudience(AUDIENCE)
    .setSubject('service')
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(privateKey);
  return { token, env: { JWT_ISSUER: issuer, JWT_AUDIENCE: AUDIENCE, JWKS_URL: `${issuer}/jwks.json` } };
}

/** Sends requests past the socket and notes the CPU time of each. */
async function measureRound({ app, headers, microseconds }: Caller): Promise<void> {
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
