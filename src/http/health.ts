import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { PUBLIC } from './auth.ts';

/** What the service depends on: each check resolves when it can be reached. */
export type Readiness = { draining: () => boolean; checks: Record<'database' | 'topic', () => Promise<unknown>> };

/** A dependency that has not answered by then counts as away: probes usually give up after a few seconds. */
const CHECK_TIMEOUT_MS = 2_000;
/** Anybody may ask, as often as they like: what was found out serves for this long. Probes ask every few seconds. */
const ANSWER_AGE_MS = 1_000;

const liveSchema = z.object({ status: z.literal('ok') });
const readySchema = z.object({
  status: z.enum(['ready', 'not ready', 'draining']),
  checks: z.object({ database: z.enum(['ok', 'failed']), topic: z.enum(['ok', 'failed']) }),
});

/** `/health/live`: the process answers. `/health/ready`: it should be given requests. */
export function serveHealth(app: FastifyInstance, readiness: Readiness): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/health/live', { schema: liveRoute }, () => ({ status: 'ok' as const }));
  const findChecks = shareAnswer(() => runChecks(readiness, app.log));
  routes.get('/health/ready', { schema: readyRoute }, async (_request, reply) => {
    const checks = await findChecks();
    const up = checks.database === 'ok' && checks.topic === 'ok';
    const status = readiness.draining() ? 'draining' : up ? 'ready' : 'not ready';
    return reply.code(status === 'ready' ? 200 : 503).send({ status, checks });
  });
}

async function runChecks({ checks }: Readiness, log: FastifyBaseLogger) {
  const check = (name: keyof Readiness['checks']) =>
    withTimeout(checks[name]()).then(
      () => 'ok' as const,
      (error: unknown) => {
        log.warn({ err: error, check: name }, 'not ready');
        return 'failed' as const;
      },
    );
  const [database, topic] = await Promise.all([check('database'), check('topic')]);
  return { database, topic };
}

/** Asks once for all who want to know while it is being found out, and for `ANSWER_AGE_MS` after. */
function shareAnswer<Answer>(ask: () => Promise<Answer>): () => Promise<Answer> {
  let shared: Promise<Answer> | undefined;
  let freshUntil = 0;
  return () => {
    if (shared === undefined || performance.now() > freshUntil) {
      freshUntil = Number.POSITIVE_INFINITY;
      shared = ask().finally(() => {
        freshUntil = performance.now() + ANSWER_AGE_MS;
      });
    }
    return shared;
  };
}

const liveRoute = {
  ...PUBLIC,
  operationId: 'getLiveness',
  tags: ['Operations'],
  summary: 'Does the process answer?',
  description: 'Asks nothing of anyone else. A process that does not answer should be restarted.',
  response: { 200: liveSchema.describe('It does.') },
};

const readyRoute = {
  ...PUBLIC,
  operationId: 'getReadiness',
  tags: ['Operations'],
  summary: 'Should the process be given requests?',
  description: 'Asks the database and the topic. Not ready while the process is stopping.',
  response: {
    200: readySchema.describe('It should.'),
    503: readySchema.describe('It should not: a dependency is away, or the process is stopping.'),
  },
};

async function withTimeout(work: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), CHECK_TIMEOUT_MS);
  });
  return Promise.race([work, timeout]).finally(() => clearTimeout(timer));
}
