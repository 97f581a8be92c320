import { connect, type Socket } from 'node:net';
import type { Reply } from '../support/service.ts';

/** How long an answer may take: beyond, the service hangs. */
export const HANG_MS = 5_000;

/** A connection that is kept open for one request after the other, and writes any bytes. */
export type Connection = {
  /**
   * Writes a request and reads the reply; null: the connection was closed without one, or, where it `hung`, none came for
   * `HANG_MS`.
   */
  send: (request: Buffer, options: { head: boolean }) => Promise<{ reply: Reply | null; hung: boolean }>;
  close: () => void;
};

/** Opens a connection to a service, anew whenever the service has closed it. */
export function openConnection(url: string): Connection {
  const { hostname, port } = new URL(url);
  let socket: Socket | null = null;
  const open = () => {
    socket = connect({ host: hostname, port: Number(port), noDelay: true });
    socket.on('error', () => undefined);
    return socket;
  };
  const close = () => {
    socket?.destroy();
    socket = null;
  };
  return {
    close,
    async send(request, { head }) {
      const used = socket === null || socket.destroyed ? open() : socket;
      const { reply, reusable, hung } = await exchange(used, request, head);
      if (!reusable) close();
      return { reply, hung };
    },
  };
}

type Exchange = { reply: Reply | null; reusable: boolean; hung: boolean };

function exchange(socket: Socket, request: Buffer, head: boolean): Promise<Exchange> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const end = (outcome: Exchange) => {
      clearTimeout(timer);
      socket.off('data', read).off('close', closed).off('end', closed);
      resolve(outcome);
    };
    const read = (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const parsed = parseReply(bytes, head);
      if (parsed === null) return;
      const { headers } = parsed.reply;
      const left = parsed.length < bytes.length || headers.get('connection') === 'close' || isStream(headers);
      end({ reply: parsed.reply, reusable: !left, hung: false });
    };
    const closed = () => end({ reply: null, reusable: false, hung: false });
    const timer = setTimeout(() => end({ reply: null, reusable: false, hung: true }), HANG_MS);
    socket.on('data', read).once('close', closed).once('end', closed);
    socket.write(request);
  });
}

/**
 * Reads the first reply of some bytes. Returns it with its length, or null while it is not whole. The service gives every
 * reply a length or sends it in chunks.
 */
export function parseReply(bytes: Buffer, head: boolean): { reply: Reply; length: number } | null {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
  const headers = new Headers(
    lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  );
  // An interim answer, like 100 Continue: the real one follows.
  if (status < 200) {
    const parsed = parseReply(bytes.subarray(end + 4), head);
    return parsed === null ? null : { ...parsed, length: parsed.length + end + 4 };
  }
  const bare = head || status === 204 || status === 304;
  const body = bare ? { text: '', length: 0 } : readBody(bytes.subarray(end + 4), headers);
  if (body === null) return null;
  const json = body.text !== '' && (headers.get('content-type') ?? '').includes('json');
  const reply = { status, headers, text: body.text, body: json ? (JSON.parse(body.text) as unknown) : body.text };
  return { reply, length: end + 4 + body.length };
}

function readBody(bytes: Buffer, headers: Headers): { text: string; length: number } | null {
  if (headers.get('transfer-encoding') === 'chunked') return readChunks(bytes, isStream(headers));
  const length = Number(headers.get('content-length') ?? 0);
  return bytes.length < length ? null : { text: bytes.toString('utf8', 0, length), length };
}

const isStream = (headers: Headers) => headers.get('content-type')?.startsWith('text/event-stream') === true;

/** A stream of events may stay open for minutes: its first event counts as the whole, and the connection is done for. */
function readChunks(bytes: Buffer, firstEvent: boolean): { text: string; length: number } | null {
  const chunks: Buffer[] = [];
  let at = 0;
  while (true) {
    const line = bytes.indexOf('\r\n', at);
    if (line < 0) return null;
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16);
    const next = line + 2 + size + 2;
    if (bytes.length < next) return null;
    if (size === 0) return { text: Buffer.concat(chunks).toString(), length: next };
    chunks.push(bytes.subarray(line + 2, next - 2));
    const text = firstEvent ? Buffer.concat(chunks).toString() : '';
    if (/^data: .*\n\n/m.test(text)) return { text, length: bytes.length };
    at = next;
  }
}
