import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import pino from 'pino';
import { ServiceError } from '../errors.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route sees to its own time. */
    unhurried?: boolean;
  }
  interface FastifyRequest {
    /** What has been waited for an answer to this request so far, in milliseconds; not for its body. */
    waitedMs: number;
  }
}

/** The `config` of a route that takes as long as there is something to do, each step of which has an end. */
export const UNHURRIED = { config: { unhurried: true } } as const;

/** Waits for a part of the work for a request. Throws ServiceError unavailable when the time of the request is up. */
export type InTime = <Result>(request: FastifyRequest, work: Promise<Result>) => Promise<Result>;

/**
 * Gives requests a time in which they are answered, by 503 if by nothing else: it is the database that keeps them, by being
 * silent or busy. What it was asked is not taken back: a change may have been made all the same, as always when an answer
 * is lost. Reckoned without the arrival of the body, which has limits of its own.
 */
export function limitAnswers(app: FastifyInstance, answerMs: number): InTime {
  app.decorateRequest('waitedMs', 0);
  const inTime: InTime = async (request, work) => {
    const startedAt = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new ServiceError('unavailable')), answerMs - request.waitedMs);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
      request.waitedMs += performance.now() - startedAt;
    }
  };
  app.addHook('onRoute', (route) => {
    if (route.config?.unhurried !== true) route.handler = limitHandler(route.handler, inTime);
  });
  return inTime;
}

function limitHandler(handler: RouteOptions['handler'], inTime: InTime): RouteOptions['handler'] {
  return function answer(request, reply) {
    const work = handler.call(this, request, reply);
    if (!(work instanceof Promise)) return work;
    return inTime(request, work).catch((error: unknown) => {
      // What the handler comes to say later, Fastify would complain about, with the request's path.
      if (error instanceof ServiceError && error.code === 'unavailable') reply.log = MUTE;
      throw error;
    });
  };
}

const MUTE = pino({ level: 'silent' });
