import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ServiceError } from '../errors.ts';
import { isProbe } from './limits.ts';

/** Requests a minute; 0: as many as they like. */
export type RateLimits = { perAddress: number; perPrincipal: number };

/** Counts a request. Throws ServiceError too_many_requests when it is one too many. */
export type CountRequest = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

const WINDOW_MS = 60_000;
/** Callers remembered, at about 200 bytes each. Beyond, who has not called for the longest is forgotten, and starts anew. */
const CALLERS_MAX = 50_000;

/**
 * Limits requests per address (IPv6: per /64, as that is what one customer gets) from here on, but for health checks.
 * Each process counts for itself.
 *
 * @returns how to count one more for the principal, once it is known.
 */
export async function limitRates(app: FastifyInstance, limits: RateLimits): Promise<CountRequest> {
  await app.register(rateLimit, { global: false });
  if (limits.perAddress > 0) {
    const countForAddress = createCounter(app, { max: limits.perAddress });
    app.addHook('onRequest', async (request, reply) => {
      if (!isProbe(request)) await countForAddress(request, reply);
    });
  }
  if (limits.perPrincipal === 0) return async () => undefined;
  return createCounter(app, { max: limits.perPrincipal, keyGenerator: ({ principal }) => principal?.id ?? '' });
}

type Options = { max: number; keyGenerator?: (request: FastifyRequest) => string };

/** What the plugin's types leave out. */
const CACHE = { cache: CALLERS_MAX };

function createCounter(app: FastifyInstance, options: Options): CountRequest {
  const count = app.createRateLimit({ ...options, ...CACHE, timeWindow: WINDOW_MS });
  return async (request, reply) => {
    const counted = await count(request);
    // The plugin's word for an address on a list of exceptions; there is no list.
    if (counted.isAllowed) return;
    showLimit(reply, counted);
    if (counted.isExceeded) {
      throw new ServiceError('too_many_requests', undefined, { retryAfterSeconds: counted.ttlInSeconds });
    }
  };
}

/** Of two limits, the reply shows the one that is nearer. */
function showLimit(reply: FastifyReply, limit: { max: number; remaining: number; ttlInSeconds: number }): void {
  const shown = reply.getHeader('ratelimit-remaining');
  if (shown !== undefined && Number(shown) < limit.remaining) return;
  reply.headers({
    'ratelimit-limit': limit.max,
    'ratelimit-remaining': limit.remaining,
    'ratelimit-reset': limit.ttlInSeconds,
  });
}
