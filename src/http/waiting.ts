import type { FastifyRequest } from 'fastify';
import { ServiceError } from '../errors.ts';

/** The longest that `Prefer: wait` is honoured; a client that asks for more gets this. */
const WAIT_MAX_SECONDS = 30;

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

/** Does `work` with a signal that is aborted, with a refusal as its reason, when the client has left or the process stops. */
export async function whileWanted<Result>(
  { raw: { socket } }: FastifyRequest,
  stopping: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const end = () => controller.abort(new ServiceError('overloaded', 'This process is stopping. Try again.'));
  socket.once('close', end);
  stopping.addEventListener('abort', end);
  if (stopping.aborted || socket.destroyed) end();
  try {
    return await work(controller.signal);
  } finally {
    socket.off('close', end);
    stopping.removeEventListener('abort', end);
  }
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
