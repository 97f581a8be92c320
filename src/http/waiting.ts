import type { FastifyRequest } from 'fastify';
import pLimit from 'p-limit';
import { ServiceError } from '../errors.ts';

/** The longest that `Prefer: wait` is honoured; a client that asks for more gets this. */
const WAIT_MAX_SECONDS = 30;
/** Callers who wait at once: each asks the database four times a second, and keeps its notification in memory. */
const WAITERS_MAX = 200;

/** Does `work` with a signal that is aborted when the time is up, the client has left, or the process stops. */
export async function withinTime<Result>(
  request: FastifyRequest,
  seconds: number,
  stopping: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  return whileWanted(request, stopping, async (wanted) => {
    const controller = new AbortController();
    const end = () => controller.abort();
    const timer = setTimeout(end, seconds * 1000);
    wanted.addEventListener('abort', end);
    if (wanted.aborted) end();
    try {
      return await work(controller.signal);
    } finally {
      clearTimeout(timer);
    }
  });
}

/**
 * Does `work` with a signal that is aborted, with a refusal as its reason, when the client has left or the process stops.
 * The first is the client's doing and no sign of overload, though nobody is left to read it.
 */
export async function whileWanted<Result>(
  { raw: { socket } }: FastifyRequest,
  stopping: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const leave = () => controller.abort(new ServiceError('request_timeout', 'The client has left.'));
  const stop = () => controller.abort(new ServiceError('overloaded', 'This process is stopping. Try again.'));
  socket.once('close', leave);
  stopping.addEventListener('abort', stop);
  if (socket.destroyed) leave();
  if (stopping.aborted) stop();
  try {
    return await work(controller.signal);
  } finally {
    socket.off('close', leave);
    stopping.removeEventListener('abort', stop);
  }
}

/** Starts a wait; null: it is not waited, because as many callers wait as may. */
export type WaitingRoom = <Result>(wait: () => Promise<Result>) => Promise<Result> | null;

/** Where the callers of a process wait. */
export function createWaitingRoom(): WaitingRoom {
  const limit = pLimit(WAITERS_MAX);
  return (wait) => (limit.activeCount < WAITERS_MAX ? limit(wait) : null);
}

/** The request's trace (W3C Trace Context, version 00), when it has a well-formed one. */
export function findTraceparent({ headers }: FastifyRequest): string | undefined {
  const { traceparent } = headers;
  if (typeof traceparent !== 'string') return undefined;
  return /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent) ? traceparent : undefined;
}

/** The seconds of `Prefer: wait=N`, bounded. An unreadable preference is ignored, as RFC 7240 asks. */
export function findWait(prefer: string | undefined): number | null {
  const wait = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])/i.exec(prefer ?? '')?.[1];
  return wait === undefined ? null : Math.min(Number(wait), WAIT_MAX_SECONDS);
}
