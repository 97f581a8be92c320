import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { type AppDeps, buildApp } from '../../src/app.ts';
import { SCOPE_NAMES } from '../../src/auth/principal.ts';
import { createDatabase, type Database, readPoolUse } from '../../src/database.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import { createTestDatabase } from './database.ts';
import { createLog } from './dispatch.ts';

export type TestApp = {
  url: string;
  app: FastifyInstance;
  /** Its own client. */
  db: Database;
  lines: { level: number; msg: string }[];
  stop: () => Promise<void>;
};

/** The HTTP side alone, without limits. Whatever `Authorization` says is the id of a caller who may do everything. */
export async function startTestApp(overrides: Partial<AppDeps> = {}): Promise<TestApp> {
  const db = createDatabase({ url: await createTestDatabase(), poolMax: 2 });
  const { log, lines } = createLog();
  const app = await buildApp({
    metrics: createMetrics({ pool: () => readPoolUse(db), lag: null }),
    ...{ db, log, api: true, stopping: new AbortController().signal, onAccept: () => undefined },
    authenticate: async (id = 'anonymous') => ({ id, scopes: new Set(SCOPE_NAMES), dailyRecipients: null }),
    ...{ rateLimits: { perAddress: 0, perPrincipal: 0 }, trustProxy: [], corsOrigins: [] },
    publishRate: 30_000,
    packing: { pageUsers: 500, recipientsPerMessage: 1 },
    allowances: { broadcastsPerHour: 1_000_000, recipientsPerDay: null },
    readiness: { draining: () => false, checks: { database: async () => undefined, topic: async () => undefined } },
    ...overrides,
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const stop = async () => {
    await app.close();
    await db.$disconnect();
  };
  return { url: `http://127.0.0.1:${port}`, app, db, lines, stop };
}
