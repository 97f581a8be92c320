import { addAbortSignal, PassThrough } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isDatabaseUnavailable } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { createBatcher, type Import, type Row } from './batches.ts';
import type { ImportResult } from './import-result.ts';
import { type Patience, waitLonger } from './limits.ts';
import { createLineReader } from './lines.ts';
import { whileWanted } from './waiting.ts';

/** Imports at a time in a process: each keeps a core and a connection to the database busy. */
const IMPORTS_MAX = 2;
/** A dozen lines. Who is slower keeps others from importing, as there are so few imports at a time. */
const BYTES_PER_SECOND_MIN = 1_024;
/** After how many seconds a client may try again that came on top of these. */
const RETRY_AFTER_SECONDS = 10;
/** How long a client may go on sending that has been answered already. It reads the answer meanwhile. */
const LINGER_MS = 1_000;

/**
 * Stores the lines of a request's body as they arrive, in batches; what is wrong with a line is answered, and no fault of
 * the others. The next batch is read while the last one is stored, and nothing is read meanwhile that is beyond it.
 *
 * @throws ServiceError overloaded, request_timeout, unavailable; all but the first say how far it got
 */
export type Importer = <Stored extends Row>(
  request: FastifyRequest,
  reply: FastifyReply,
  how: Import<Stored>,
) => Promise<ImportResult>;

/** What the imports of a process share. `stopping` is aborted when it stops. */
export function createImporter(stopping: AbortSignal, { silenceMs }: Patience): Importer {
  let running = 0;
  return async (request, reply, how) => {
    reply.raw.once('finish', () => dropRest(request));
    waitLonger(request);
    if (running >= IMPORTS_MAX) {
      const text = `${IMPORTS_MAX} imports are running. Try again when one has ended.`;
      throw new ServiceError('overloaded', text, { retryAfterSeconds: RETRY_AFTER_SECONDS });
    }
    running += 1;
    try {
      return await whileWanted(request, stopping, (wanted) => importBody(request, { wanted, silenceMs }, how));
    } catch (error) {
      // What is still to arrive is nobody's, and would be taken for the next request.
      if (!request.raw.complete) void reply.header('connection', 'close');
      throw error;
    } finally {
      running -= 1;
    }
  };
}

/** Silent is who sends nothing, or next to nothing, while the process waits for it. */
async function importBody<Stored extends Row>(
  { raw }: FastifyRequest,
  { wanted, silenceMs }: { wanted: AbortSignal; silenceMs: number },
  how: Import<Stored>,
): Promise<ImportResult> {
  // In between, so that whatever ends the reading leaves the connection as it is: the client is to be answered.
  const body = addAbortSignal(wanted, raw.pipe(new PassThrough()));
  const end = (error: unknown) => void body.destroy(error as Error);
  const silence = setTimeout(() => end(new ServiceError('request_timeout', SILENT)), silenceMs);
  const batcher = createBatcher(how, end);
  const lines = createLineReader();
  const requirePace = createPaceCheck(silenceMs);
  try {
    for await (const chunk of body) {
      silence.refresh();
      requirePace(chunk.length);
      await batcher.add(lines.read(chunk));
      silence.refresh();
      requirePace(0);
    }
    await batcher.add(lines.end());
    return await batcher.end();
  } catch (error) {
    raw.unpipe(body);
    throw explain(wanted.aborted ? wanted.reason : error, await batcher.settle());
  } finally {
    clearTimeout(silence);
  }
}

const SILENT = 'Nothing, or too little, has arrived for too long.';

/**
 * Holds a client to a pace, which counts only while the process waits: called with the bytes of a chunk when it arrives, and
 * with none when the next is waited for. The function throws ServiceError request_timeout.
 */
function createPaceCheck(windowMs: number): (bytes: number) => void {
  let waitingSince = performance.now();
  let waitedMs = 0;
  let arrived = 0;
  return (bytes) => {
    const now = performance.now();
    if (bytes > 0) waitedMs += now - waitingSince;
    waitingSince = now;
    arrived += bytes;
    if (waitedMs < windowMs) return;
    if (arrived < (BYTES_PER_SECOND_MIN * windowMs) / 1_000) throw new ServiceError('request_timeout', SILENT);
    waitedMs = 0;
    arrived = 0;
  };
}

/** What ended an import, with how far it got. */
function explain(error: unknown, members: { lines: number; stored: number }): unknown {
  const refusal = isDatabaseUnavailable(error) ? new ServiceError('unavailable') : error;
  if (!(refusal instanceof ServiceError)) return error;
  const { code, message, details } = refusal;
  const text = `${message} The first ${members.lines} lines are done, ${members.stored} of them stored.`;
  return Object.assign(new ServiceError(code, text, { ...details, members }), { cause: error });
}

/** Throws away what still arrives after the answer, for a moment: who is cut off at once cannot read it. */
function dropRest({ raw }: FastifyRequest): void {
  if (raw.complete) return;
  raw.resume();
  const timer = setTimeout(() => raw.socket.destroy(), LINGER_MS);
  raw.once('end', () => clearTimeout(timer)).socket.once('close', () => clearTimeout(timer));
}
