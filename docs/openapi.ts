import pino from 'pino';
import { buildApp } from '../src/app.ts';
import { ANONYMOUS } from '../src/auth/principal.ts';
import { createDatabase, readPoolUse } from '../src/database.ts';
import { createMetrics } from '../src/http/metrics.ts';

/** The OpenAPI document as the service serves it. Nothing is connected to: the pool opens no connection before it is used. */
export async function describeApi(): Promise<object> {
  const db = createDatabase({ url: 'postgresql://localhost/none', poolMax: 1 });
  const app = await buildApp({
    ...{ db, log: pino({ level: 'silent' }), api: true, stopping: new AbortController().signal },
    metrics: createMetrics({ pool: () => readPoolUse(db), lag: null }),
    authenticate: async () => ANONYMOUS,
    ...{ rateLimits: { perAddress: 0, perPrincipal: 0 }, trustProxy: [], corsOrigins: [] },
    ...{
      publishRate: 1,
      packing: { pageUsers: 1, recipientsPerMessage: 1 },
      allowances: { broadcastsPerHour: 0, recipientsPerDay: null },
    },
    onAccept: () => undefined,
    readiness: { draining: () => false, checks: { database: async () => undefined, topic: async () => undefined } },
  });
  try {
    await app.ready();
    return app.swagger();
  } finally {
    await app.close();
    await db.$disconnect();
  }
}
