import { connect } from 'node:net';
import type { Reply } from '../support/service.ts';
import { parseReply } from './connection.ts';

/** What came back on a connection until it was closed. */
export type RawOutcome = { replies: Reply[]; rest: string; ms: number; ended: boolean };

export type Finish = 'wait' | 'end' | 'reset' | 'open';

export type RawOptions = {
  /**
   * After the last byte: `wait` for the replies and close then, `end` at once by closing one's own half, `reset` the
   * connection, or leave it `open` until the service closes it.
   */
  finish?: Finish;
  /** Replies to wait for, and how long nothing may come before no more are expected. */
  replies?: number;
  quietMs: number;
  /** By then the service has to have closed the connection. */
  boundMs: number;
};

/** Writes bytes, one piece after the other, on a connection of its own, and reads until the service closes it. */
export function writeRaw(url: string, pieces: Buffer[], options: RawOptions): Promise<RawOutcome> {
  const { hostname, port } = new URL(url);
  const { finish = 'wait', replies = 1, quietMs, boundMs } = options;
  const start = performance.now();
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true });
  const chunks: Buffer[] = [];
  return new Promise((resolve) => {
    const done = (ended: boolean) => {
      clearTimeout(timer);
      clearTimeout(quiet);
      socket.destroy();
      resolve({ ...readReplies(Buffer.concat(chunks)), ms: performance.now() - start, ended });
    };
    const timer = setTimeout(() => done(false), boundMs);
    let quiet: NodeJS.Timeout | undefined;
    const waitMore = () => {
      clearTimeout(quiet);
      const enough = readReplies(Buffer.concat(chunks)).replies.length >= replies;
      if (enough) socket.end();
      else quiet = setTimeout(() => socket.end(), quietMs);
    };
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      if (finish === 'wait') waitMore();
    });
    // The service may well have closed before everything was written.
    socket.on('error', () => undefined);
    socket.once('close', () => done(true)).once('end', () => done(true));
    socket.once('connect', () => writeNext([...pieces]));
    const writeNext = (left: Buffer[]) => {
      const piece = left.shift();
      if (piece !== undefined) socket.write(piece, () => writeNext(left));
      else if (finish === 'end') socket.end();
      else if (finish === 'reset') socket.resetAndDestroy();
      else if (finish === 'wait') waitMore();
    };
  });
}

/** Reads all replies of some bytes; `rest` is what is no whole reply. */
function readReplies(bytes: Buffer): { replies: Reply[]; rest: string } {
  const replies: Reply[] = [];
  let left = bytes;
  for (let parsed = parseReply(left, false); parsed !== null; parsed = parseReply(left, false)) {
    replies.push(parsed.reply);
    left = left.subarray(parsed.length);
  }
  return { replies, rest: left.toString('latin1') };
}
