import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import { z } from 'zod';
import type { PoolUse } from '../database.ts';
import type { Measures } from '../notifications/measures.ts';
import { requires } from './auth.ts';
import { PREFLIGHT_ROUTE } from './cors.ts';
import { type FindLag, registerDispatch, registerLag, registerPool } from './dispatch-metrics.ts';
import { problems } from './problem.ts';

/** From a read by its key to the longest wait for a dispatch, in seconds. */
const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Any other method is `other`: callers must not be able to make up labels. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** What is asked when somebody reads the metrics. */
export type MetricSources = {
  pool: () => PoolUse;
  /** How far dispatch is behind, in seconds. Null: this process does not dispatch. */
  lag: (() => Promise<{ oldest: number; waiting: number }>) | null;
};

/** How old the lag may be that is shown: it is a query, and there may be several who read. */
const LAG_AGE_MS = 5_000;
/** Metrics are read within 10 s mostly, and are needed most while the database is away. */
const LAG_TIMEOUT_MS = 2_000;

/** Metrics of one server, under `/metrics` together with those of the process. */
export type Metrics = {
  /** Counts a reply that was sent. */
  countReply: (request: FastifyRequest, reply: FastifyReply) => void;
  /** Counts the answer to what was no request. */
  countRefusal: (status: number) => void;
  /** Where the dispatch of this process is counted. */
  measures: Measures;
  serve: (app: FastifyInstance) => void;
};

/** Metrics are kept per server, so that several in one process, as in tests, do not meet. */
export function createMetrics({ pool, lag }: MetricSources): Metrics {
  const registry = new Registry();
  const durations = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from the headers of a request to the end of its reply.',
    labelNames: ['method', 'route', 'status'],
    buckets: DURATION_BUCKETS,
    registers: [registry],
  });
  const measures = registerDispatch(registry);
  registerPool(registry, pool);
  if (lag !== null) registerLag(registry, shareLag(lag));
  return {
    measures,
    countReply({ method, is404, routeOptions: { url = PREFLIGHT_ROUTE } }, { statusCode, elapsedTime }) {
      const route = is404 || url === PREFLIGHT_ROUTE ? 'none' : url;
      const labels = { method: METHODS.has(method) ? method : 'other', route, status: statusCode };
      durations.observe(labels, elapsedTime / 1000);
    },
    countRefusal(status) {
      durations.observe({ method: 'other', route: 'none', status }, 0);
    },
    serve(app) {
      app.get('/metrics', { schema: metricsRoute }, async (_request, reply) => {
        const texts = await Promise.all([findProcessMetrics().metrics(), registry.metrics()]);
        return reply.type(registry.contentType).send(texts.join('\n'));
      });
    },
  };
}

/**
 * Asks once for all who read within `LAG_AGE_MS`, and never while an answer is awaited. Null: there is none in time, or
 * there was none.
 */
function shareLag(ask: NonNullable<MetricSources['lag']>): FindLag {
  let shared: ReturnType<FindLag> | undefined;
  let freshUntil = 0;
  return async () => {
    if (shared === undefined || performance.now() > freshUntil) {
      freshUntil = Number.POSITIVE_INFINITY;
      shared = ask().catch(() => null);
      void shared.then(() => {
        freshUntil = performance.now() + LAG_AGE_MS;
      });
    }
    const late = sleep(LAG_TIMEOUT_MS, null, { ref: false });
    return Promise.race([shared, late]);
  };
}

let processMetrics: Registry | undefined;

/** Memory, CPU, event loop and garbage collection. Once a process: prom-client never stops to observe. */
function findProcessMetrics(): Registry {
  if (processMetrics === undefined) {
    processMetrics = new Registry();
    collectDefaultMetrics({ register: processMetrics });
  }
  return processMetrics;
}

const metricsRoute = {
  ...requires('metrics:read'),
  ...{ tags: ['Operations'], operationId: 'getMetrics', summary: 'Read the metrics' },
  description: 'Of this process, in the text format of Prometheus.',
  response: {
    200: { description: 'The metrics.', content: { 'text/plain': { schema: z.string() } } },
    ...problems(),
  },
};
