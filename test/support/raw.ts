import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** `problem` is the parsed body; null without one. */
export type RawReply = { status: number; headers: string; problem: unknown };

/** Writes to a connection of its own, and reads until the service closes it. */
export async function sendRaw(url: string, bytes: string): Promise<RawReply> {
  const { socket, read } = open(url, false);
  socket.write(bytes, 'latin1');
  await once(socket, 'close');
  return read();
}

/**
 * Writes the beginning of a request and then a byte every now and then, whatever is answered, until the service cuts the
 * connection. Returns the answer, and after how long the connection was gone.
 */
export async function drip(url: string, beginning: string, everyMs: number): Promise<RawReply & { ms: number }> {
  const start = performance.now();
  const { socket, read } = open(url, true);
  socket.write(beginning);
  const timer = setInterval(() => socket.write('x'), everyMs);
  // Whoever writes to a connection that was cut is told so.
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('close', resolve));
  clearInterval(timer);
  return { ...read(), ms: performance.now() - start };
}

function open(url: string, allowHalfOpen: boolean): { socket: Socket; read: () => RawReply } {
  const { port, hostname } = new URL(url);
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  const read = () => {
    const [head = '', body = ''] = Buffer.concat(chunks).toString().split('\r\n\r\n', 2);
    const [statusLine = '', ...headers] = head.split('\r\n');
    return {
      status: Number(statusLine.split(' ')[1]),
      headers: headers.join('\n'),
      problem: body === '' ? null : JSON.parse(body),
    };
  };
  return { socket, read };
}
