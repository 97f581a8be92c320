import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import { z } from 'zod';
import { requires } from './auth.ts';
import { PREFLIGHT_ROUTE } from './cors.ts';
import { problems } from './problem.ts';

/** From a read by its key to the longest wait for a dispatch, in seconds. */
const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Any other method is `other`: callers must not be able to make up labels. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Metrics of one server, under `/metrics` together with those of the process. */
export type Metrics = {
  /** Counts a reply that was sent. */
  countReply: (request: FastifyRequest, reply: FastifyReply) => void;
  /** Counts the answer to what was no request. */
  countRefusal: (status: number) => void;
  serve: (app: FastifyInstance) => void;
};

/** Metrics are kept per server, so that several in one process, as in tests, do not meet. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const durations = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from the headers of a request to the end of its reply.',
    labelNames: ['method', 'route', 'status'],
    buckets: DURATION_BUCKETS,
    registers: [registry],
  });
  return {
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
