import type { FastifyHttpOptions, FastifyInstance, FastifyRequest } from 'fastify';
import { ServiceError } from '../errors.ts';

/** Room for the widest of the small bodies, in which every character may be escaped. */
const BODY_BYTES_MAX = 16 * 1024;
/** Room for a payload of 256 KiB with every character escaped, and 10,000 user ids: `bodyLimit` of the routes that take one. */
export const NOTIFICATION_BODY_BYTES_MAX = 2 * 1024 * 1024;
/** Headers are sent in one go; who takes longer holds the connection on purpose. */
const HEADERS_TIMEOUT_MS = 10_000;
/** A request that has not arrived whole by then is given up: 2 MiB take this long at 70 kB/s. */
const REQUEST_TIMEOUT_MS = 30_000;
/** How late these two may be noticed. A check walks over the connections that wait for a request, which costs nothing. */
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

/** Bounds connections and headers, and refuses what the headers must not hold, with problems instead of bare replies of Node. */
export function limitConnections(app: FastifyInstance): void {
  const { server } = app;
  server.maxConnections = CONNECTIONS_MAX;
  // Node drops what is beyond without a word: one more is let in, to be noticed.
  server.maxHeadersCount = HEADERS_MAX + 1;
  server.on('checkExpectation', (request, response) => void server.emit('request', request, response));
  app.addHook('onRequest', (request, _reply, done) => {
    refuseOddHeaders(request);
    done();
  });
}

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
