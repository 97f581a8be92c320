import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export type CountingSink = {
  url: string;
  /** Messages a second that it takes from now on; infinity for as many as come. */
  throttle: (perSecond: number) => void;
  /** Messages accepted from one time to another, in ms of `performance.now()`. */
  count: (from: number, to: number) => number;
  /** When the first of them were, in the same time; infinity before. */
  firstAt: () => number;
  /** Calls accepted and refused so far. */
  calls: { accepted: number; throttled: number };
  stop: () => void;
};

/** What the bucket holds: as much as comes within this time. Little, so that no queue of tokens hides how it is used. */
const BUCKET_MS = 200;
/** A bucket never holds less than one call. */
const BUCKET_MIN = 10;

/**
 * SNS that only counts, light enough for the load of several processes: it takes PublishBatch, or refuses it as SNS throttles,
 * by a token bucket. The caller stops it.
 */
export async function startCountingSink(): Promise<CountingSink> {
  const arrivals: { at: number; messages: number }[] = [];
  const calls = { accepted: 0, throttled: 0 };
  let bucket = createBucket(Number.POSITIVE_INFINITY);
  const receive = async (request: IncomingMessage, response: ServerResponse) => {
    const ids = readIds(await text(request).catch(() => ''));
    if (!bucket.take(ids.length)) {
      calls.throttled += 1;
      return refuse(response);
    }
    calls.accepted += 1;
    arrivals.push({ at: performance.now(), messages: ids.length });
    return accept(response, ids);
  };
  const server = createServer((request, response) => void receive(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    throttle: (perSecond) => {
      bucket = createBucket(perSecond);
    },
    count: (from, to) => arrivals.reduce((sum, { at, messages }) => (at >= from && at < to ? sum + messages : sum), 0),
    firstAt: () => arrivals[0]?.at ?? Number.POSITIVE_INFINITY,
    calls,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** A token bucket on the clock of `performance.now()`. */
export function createBucket(perSecond: number) {
  const size = Math.max(BUCKET_MIN, (perSecond * BUCKET_MS) / 1_000);
  let tokens = size;
  let filledAt = performance.now();
  return {
    /** False, and nothing is taken, when there are not as many. */
    take(count: number) {
      const now = performance.now();
      if (perSecond === Number.POSITIVE_INFINITY) return true;
      tokens = Math.min(size, tokens + ((now - filledAt) / 1_000) * perSecond);
      filledAt = now;
      if (tokens < count) return false;
      tokens -= count;
      return true;
    },
  };
}

const readIds = (form: string) =>
  [...form.matchAll(/PublishBatchRequestEntries\.member\.\d+\.Id=(\d+)/g)].map(([, id]) => id);

const NAMESPACE = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"';

function accept(response: ServerResponse, ids: (string | undefined)[]): void {
  const members = ids.map((id) => `<member><Id>${id}</Id><MessageId>${randomUUID()}</MessageId></member>`);
  const result = `<Successful>${members.join('')}</Successful><Failed/>`;
  reply(response, 200, 'PublishBatchResponse', `<PublishBatchResult>${result}</PublishBatchResult>`);
}

function refuse(response: ServerResponse): void {
  const error = '<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>';
  reply(response, 400, 'ErrorResponse', `${error}<RequestId>${randomUUID()}</RequestId>`);
}

function reply(response: ServerResponse, status: number, element: string, content: string): void {
  response.writeHead(status, { 'content-type': 'text/xml' }).end(`<${element} ${NAMESPACE}>${content}</${element}>`);
}
