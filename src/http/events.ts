import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify';
import { isDatabaseUnavailable } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { getPrincipal } from './auth.ts';
import type { InTime } from './deadline.ts';
import { whileWanted } from './waiting.ts';

/** What is watched, as JSON on one line. `isLast`: it will not change any more. */
export type Reading = { data: string; isLast: boolean };

/** How often it is looked at, and so the shortest time between two events: twice a second is as much as people can follow. */
export const EVENT_INTERVAL_MS = 500;
/** The id of the last event, which a client that reconnects sends back as `Last-Event-ID`. */
const END_ID = 'end';
/** When nothing was said for so long, a comment is: proxies, and our own server, close a silent connection after 60 s. */
const HEARTBEAT_MS = 15_000;
/** A stream ends after this time, and its client comes back with credentials that are looked at anew: a revoked key is. */
const STREAM_MS_MAX = 5 * 60_000;
/** When a client is to come back whose stream was cut. */
const RECONNECT_MS = 2_000;
/** Streams of a process: each takes about 30 KiB, and two turns of the event loop a second. */
const WATCHERS_MAX = 1_000;
/** Those of one principal: more than one needs, and it takes ten of them to keep the others from watching. */
const WATCHERS_PER_PRINCIPAL_MAX = 100;
/** After how many seconds one may try again that had too many: streams last minutes. */
const RETRY_AFTER_SECONDS = 10;

/**
 * Answers with server-sent events (WHATWG HTML, section 9.2) of what `read` gives, until it is the last, the client has left
 * or the process stops; 204, which makes a browser stay away, to a client that has seen the last.
 *
 * @throws ServiceError overloaded, too_many_requests, when as many watch as may; what `read` throws at first
 */
export type SendEvents = (
  request: FastifyRequest,
  reply: FastifyReply,
  read: () => Promise<Reading>,
) => Promise<unknown>;

/** How events are sent in a process. `stopping` ends all streams. */
export function createEventSender(stopping: AbortSignal, inTime: InTime): SendEvents {
  const admit = createDoor();
  return async (request, reply, read) => {
    const leave = admit(getPrincipal(request).id);
    try {
      const first = await inTime(request, read());
      if (request.headers['last-event-id'] === END_ID) return await reply.code(204).send(null);
      return await whileWanted(request, stopping, (signal) => {
        const isBusy = () => reply.raw.writableLength > 0;
        return sendStream(reply, composeEvents({ first, read, isBusy, signal, log: request.log }));
      });
    } finally {
      leave();
    }
  };
}

/** Lets a watcher in, who leaves by calling what is returned; or throws ServiceError overloaded, too_many_requests. */
function createDoor(): (principal: string) => () => void {
  const watchers = new Map<string, number>();
  let all = 0;
  return (principal) => {
    if (all >= WATCHERS_MAX) throw new ServiceError('overloaded', 'Too many streams of events are open.');
    const own = watchers.get(principal) ?? 0;
    if (own >= WATCHERS_PER_PRINCIPAL_MAX) {
      const text = `This caller has ${own} streams of events open. Try again when one has ended.`;
      throw new ServiceError('too_many_requests', text, { retryAfterSeconds: RETRY_AFTER_SECONDS });
    }
    watchers.set(principal, own + 1);
    all += 1;
    return () => {
      all -= 1;
      const left = (watchers.get(principal) ?? 0) - 1;
      if (left > 0) watchers.set(principal, left);
      else watchers.delete(principal);
    };
  };
}

/** Resolves when the reply has been sent, or cannot be any more. */
async function sendStream(reply: FastifyReply, texts: AsyncGenerator<string>): Promise<void> {
  // nginx would keep events back until it has a buffer full of them.
  void reply.type('text/event-stream; charset=utf-8').header('x-accel-buffering', 'no');
  // Takes a text when the one before is written, and keeps none.
  await reply.send(Readable.from(texts, { objectMode: false, highWaterMark: 0 }));
}

export type Watch = {
  /** What was read before the stream began. */
  first: Reading;
  read: () => Promise<Reading>;
  /** Whether the client has yet to take what was sent: meanwhile nothing is, and of what changes the latest is. */
  isBusy: () => boolean;
  /** Aborted: the stream ends. */
  signal: AbortSignal;
  log: Pick<FastifyBaseLogger, 'error'>;
};

/** Comments of a stream, by whether it could be read what is watched. */
const NOTES = { fine: ': watching\n\n', away: ': the database is away; trying again\n\n' };

/** The texts of a stream, each an event or a comment, as they are due. */
export async function* composeEvents(watch: Watch): AsyncGenerator<string> {
  const endsAt = performance.now() + STREAM_MS_MAX;
  const said = { data: '', note: NOTES.fine, at: 0 };
  let opening = `retry: ${RECONNECT_MS}\n`;
  let latest = watch.first;
  let note = NOTES.fine;
  while (!watch.signal.aborted && performance.now() < endsAt) {
    const isDue = note !== said.note || performance.now() - said.at >= HEARTBEAT_MS;
    const text = latest.data !== said.data ? composeEvent(latest) : isDue ? note : '';
    if (text !== '' && !watch.isBusy()) {
      Object.assign(said, { data: latest.data, note, at: performance.now() });
      yield opening + text;
      opening = '';
    }
    if (latest.isLast && latest.data === said.data) return;
    const next = await readNext(watch);
    if (next === null) return;
    note = next === 'away' ? NOTES.away : NOTES.fine;
    if (next !== 'away') latest = next;
  }
}

function composeEvent({ data, isLast }: Reading): string {
  return isLast ? `event: end\nid: ${END_ID}\ndata: ${data}\n\n` : `event: progress\ndata: ${data}\n\n`;
}

/** What is read when it is time to; null: nothing more is to be said. */
async function readNext({ read, signal, log }: Watch): Promise<Reading | 'away' | null> {
  try {
    await sleep(EVENT_INTERVAL_MS, undefined, { signal });
    return await unlessAborted(read(), signal);
  } catch (error) {
    if (signal.aborted) return null;
    if (isDatabaseUnavailable(error)) return 'away';
    // A refusal: it has been removed meanwhile, which the client is told when it comes back.
    if (!(error instanceof ServiceError)) log.error({ err: error }, 'a stream of events failed');
    return null;
  }
}

/** A database that does not answer is waited for longer than a stream may outlive its end. */
function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result | null> {
  return new Promise((resolve, reject) => {
    const leave = () => resolve(null);
    signal.addEventListener('abort', leave);
    if (signal.aborted) leave();
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}
