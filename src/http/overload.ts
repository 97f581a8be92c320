import underPressure from '@fastify/under-pressure';
import type { FastifyInstance } from 'fastify';
import { ServiceError } from '../errors.ts';
import { isProbe } from './limits.ts';

/**
 * The mean delay of a turn of the event loop from which on requests are refused. A request takes several turns, so that
 * callers wait for many seconds by then. Utilisation is no measure: it is near 1 whenever one core is well used.
 */
const LOOP_DELAY_MS_MAX = 1_000;
/** How often the delay is taken, and so about how long requests are refused after the loop is free again. */
const SAMPLE_INTERVAL_MS = 1_000;
/** Two samples later. */
const RETRY_AFTER_SECONDS = 2;

/**
 * Refuses requests from here on while the process cannot keep up, as an answer that comes too late is work for nothing.
 * Health checks are answered: to restart a busy process, or to give its load to the others, would make things worse.
 */
export async function shedLoad(app: FastifyInstance): Promise<void> {
  await app.register(underPressure, {
    maxEventLoopDelay: LOOP_DELAY_MS_MAX,
    sampleInterval: SAMPLE_INTERVAL_MS,
    async pressureHandler(request) {
      if (isProbe(request)) return;
      throw new ServiceError('overloaded', undefined, { retryAfterSeconds: RETRY_AFTER_SECONDS });
    },
  });
}
