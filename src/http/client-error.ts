import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { ERRORS, type ErrorCode } from '../errors.ts';
import { BARE_HEADERS } from './headers.ts';
import { composeProblem } from './problem.ts';

/** How long a client may take to read why its connection is closed. It may well go on writing meanwhile. */
const LINGER_MS = 1_000;

/**
 * Answers a request that is not HTTP, on its socket, as no route will ever see it.
 *
 * @returns what was answered; null when nobody is there to hear it.
 */
export function answerClientError(error: Error & { code?: string }, socket: Socket) {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy(error);
    return null;
  }
  const code = CLIENT_CODES[error.code ?? ''] ?? 'malformed_request';
  const [status] = ERRORS[code];
  const requestId = randomUUID();
  const body = composeProblem(requestId, code);
  const headers = {
    ...{ ...BARE_HEADERS, 'content-type': 'application/problem+json', 'x-request-id': requestId },
    ...{ 'content-length': Buffer.byteLength(body), connection: 'close' },
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  return { request_id: requestId, status };
}

const CLIENT_CODES: Record<string, ErrorCode> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};
