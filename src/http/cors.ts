import cors from '@fastify/cors';
import type { FastifyInstance, FastifyRequest } from 'fastify';

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];
const REQUEST_HEADERS = [
  ...['authorization', 'content-type', 'idempotency-key', 'last-event-id', 'prefer', 'traceparent', 'x-request-id'],
];
const REPLY_HEADERS = [
  ...['location', 'link', 'x-request-id', 'retry-after', 'idempotency-replayed', 'preference-applied'],
  ...['ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset'],
];
/** How long a browser may remember what it was allowed: the longest that Chromium does. */
const MAX_AGE_SECONDS = 7_200;

/** The route that the plugin adds for preflights of paths that nothing is served under. */
export const PREFLIGHT_ROUTE = '*';

/** Lets pages of these origins call the service from a browser; without origins, none. */
export async function allowOrigins(app: FastifyInstance, origins: string[]): Promise<void> {
  if (origins.length === 0) return;
  await app.register(cors, () => (request: FastifyRequest, done: Decide) => {
    done(null, {
      ...{ origin: origins, methods: METHODS, maxAge: MAX_AGE_SECONDS },
      ...{ allowedHeaders: REQUEST_HEADERS, exposedHeaders: REPLY_HEADERS, preflight: isPreflight(request) },
    });
  });
}

type Decide = (error: Error | null, options: cors.FastifyCorsOptions) => void;

/** Any other OPTIONS request is answered like the methods that a path does not support. */
function isPreflight({ headers }: FastifyRequest): boolean {
  return headers.origin !== undefined && headers['access-control-request-method'] !== undefined;
}
