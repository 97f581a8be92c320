import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyHttpOptions, FastifyInstance, FastifyRequest } from 'fastify';
import { ServiceError } from '../errors.ts';

/** Room for the widest of the small bodies, in which every character may be escaped. */
const BODY_BYTES_MAX = 16 * 1024;
/** Room for a payload of 256 KiB with every character escaped, and 10,000 user ids: `bodyLimit` of the routes that take one. */
export const NOTIFICATION_BODY_BYTES_MAX = 2 * 1024 * 1024;
/** Headers are sent in one go; who takes longer holds the connection on purpose. */
const HEADERS_TIMEOUT_MS = 10_000;
/** For a body to arrive whole, but for imports: 2 MiB take this long at 70 kB/s. */
const ARRIVAL_MS = 30_000;
/** An import that sends nothing for that long, while nothing keeps it from sending, is given up. */
const SILENCE_MS = 30_000;
/** For everything but the arrival of a body: callers are promised an answer within 5 s, whatever the database does. */
const ANSWER_MS = 4_500;
/** For a request to arrive, whatever it is: an import of ten million lines takes minutes. */
const REQUEST_TIMEOUT_MS = 3_600_000;
/** How late Node may notice that one of its two limits has passed. A check walks over the connections that wait for a request, which costs nothing. */
const TIMEOUT_CHECK_INTERVAL_MS = 1_000;
/** A connection on which nothing happens is closed; longer than the longest wait for a dispatch. */
const CONNECTION_TIMEOUT_MS = 60_000;
/** Between two requests: longer than the 60 s of common load balancers, or they reuse a connection as it is closed. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000;
/** All headers and the path together: Node's default, said here as it is a promise. Tokens are the longest, at a few KiB. */
const HEADERS_BYTES_MAX = 16 * 1024;
/** Browsers and proxies together send about forty. */
const HEADERS_MAX = 100;
/** Each idle one costs about 10 KiB and a file descriptor. More are closed as soon as they are opened. */
const CONNECTIONS_MAX = 10_000;

/**
 * How long the service waits for a body: for all of it, and for any more of an import; and how long a caller waits for an
 * answer at most. In milliseconds.
 */
export type Patience = { arrivalMs: number; silenceMs: number; answerMs: number };

export const PATIENCE: Patience = { arrivalMs: ARRIVAL_MS, silenceMs: SILENCE_MS, answerMs: ANSWER_MS };

/** What the server is created with. */
export const SERVER_LIMITS = {
  bodyLimit: BODY_BYTES_MAX,
  requestTimeout: REQUEST_TIMEOUT_MS,
  connectionTimeout: CONNECTION_TIMEOUT_MS,
  keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  http: {
    headersTimeout: HEADERS_TIMEOUT_MS,
    connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
    maxHeaderSize: HEADERS_BYTES_MAX,
    // Node would answer without a body; `refuseOddHeaders` does it with a problem.
    requireHostHeader: false,
  },
} satisfies FastifyHttpOptions<FastifyInstance['server']>;

/**
 * Bounds connections, headers and the time a body takes to arrive, and refuses what the headers must not hold, with problems
 * instead of bare replies of Node.
 */
export function limitConnections(app: FastifyInstance, { arrivalMs }: Patience): void {
  const { server } = app;
  server.maxConnections = CONNECTIONS_MAX;
  // Node drops what is beyond without a word: one more is let in, to be noticed.
  server.maxHeadersCount = HEADERS_MAX + 1;
  // Not in a hook: an earlier one may refuse a request, and some requests never come to any. Before Fastify, so that a
  // route can wait longer.
  server.prependListener('request', (request, response) => {
    if (hasBody(request)) limitArrival(server, arrivalMs, request, response);
  });
  server.on('checkExpectation', (request, response) => void server.emit('request', request, response));
  app.addHook('onRequest', (request, _reply, done) => {
    refuseOddHeaders(request);
    done();
  });
}

const arrivals = new WeakMap<IncomingMessage, NodeJS.Timeout>();

/** Lets a request's body arrive as slowly as Node allows, an hour long. Whoever asks for it has bounds of their own. */
export function waitLonger({ raw }: FastifyRequest): void {
  clearTimeout(arrivals.get(raw));
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * Node has one limit for all requests. This one ends a request as Node's would, but only cuts the connection where an
 * answer would get into another: this request's own, or that of one before it.
 */
function limitArrival(
  server: FastifyInstance['server'],
  ms: number,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { socket } = request;
  const timer = setTimeout(() => {
    // Of a body that nobody reads, as that of a GET, no end is told.
    if (request.complete) return;
    // A response has the socket only when it is its turn.
    if (response.headersSent || response.socket === null) socket.destroy();
    else server.emit('clientError', Object.assign(new Error('body timeout'), TIMED_OUT), socket);
  }, ms);
  arrivals.set(request, timer);
  request.once('end', () => clearTimeout(timer));
  request.once('close', () => clearTimeout(timer));
}

/** Node's own code for it. */
const TIMED_OUT = { code: 'ERR_HTTP_REQUEST_TIMEOUT' };

/** A health check, which has to be answered whatever else is refused. */
export function isProbe({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.url?.startsWith('/health/') === true;
}

/** @throws ServiceError headers_too_large, malformed_request (`Host`: RFC 9112, section 3.2; `Expect`: RFC 9110, section 10.1.1) */
function refuseOddHeaders({ raw: { rawHeaders, httpVersion }, headers: { expect } }: FastifyRequest): void {
  if (rawHeaders.length > HEADERS_MAX * 2) {
    throw new ServiceError('headers_too_large', `A request may have ${HEADERS_MAX} headers at most.`);
  }
  const hosts = countHeaders(rawHeaders, 'host');
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1')) {
    throw new ServiceError('malformed_request', 'A request has exactly one Host header.');
  }
  // A proxy in front might go by the other one.
  if (countHeaders(rawHeaders, 'authorization') > 1) {
    throw new ServiceError('malformed_request', 'A request has one Authorization header at most.');
  }
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') {
    throw new ServiceError('malformed_request', 'The only expectation that can be met is 100-continue.');
  }
}

/** @param rawHeaders - names and values in turn. */
function countHeaders(rawHeaders: string[], name: string): number {
  let count = 0;
  for (let n = 0; n < rawHeaders.length; n += 2) if (rawHeaders[n]?.toLowerCase() === name) count += 1;
  return count;
}
