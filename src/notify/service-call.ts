import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import { NoAnswerError, NotifyError, RefusedError, StrangeAnswerError } from './failures.ts';
import { problemSchema } from './replies.ts';
import { showLine } from './terminal-text.ts';

/** To count ten million users takes the service half a minute, and others may be before us. */
const REQUEST_TIMEOUT_MS = 120_000;
/** A restart of the service takes a few seconds. */
const TRIES_MAX = 5;
const FIRST_PAUSE_MS = 500;
/** A notification is answered with its text: 256 KiB, of which JSON may make six times as much. */
const REPLY_BYTES_MAX = 2 * 1024 * 1024;

export type Service = {
  /** Without a slash at its end. */
  url: string;
  /** The key to call with, where there is one. */
  key: string | undefined;
  /** Tells that a call is tried again, and why. */
  warn: (message: string) => void;
};

type Call = { method?: 'POST'; path: string; body?: object; headers?: Record<string, string>; signal: AbortSignal };

/**
 * Calls the service until it answers, a bounded number of times, and returns what it answered. Give a POST that changes
 * something an Idempotency-Key.
 *
 * @throws NoAnswerError, RefusedError, StrangeAnswerError; the last of the tries, `uncertain` when one of them was.
 * @throws what the call's signal was aborted with
 */
export async function callService<Schema extends z.ZodType>(
  service: Service,
  call: Call,
  schema: Schema,
): Promise<z.output<Schema>> {
  let uncertain = false;
  for (let tries = 1; ; tries++) {
    try {
      const signal = AbortSignal.any([call.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
      const response = await openCall(service, { ...call, signal });
      return judgeReply(service, schema, await readReply(service, response));
    } catch (error) {
      call.signal.throwIfAborted();
      if (!(error instanceof NotifyError)) throw error;
      uncertain ||= error.uncertain;
      const pauseMs = findPause(error, tries);
      if (pauseMs === null) throw Object.assign(error, { uncertain });
      service.warn(`${error.message}; trying again in ${pauseMs / 1000} s`);
      await sleep(pauseMs, undefined, { signal: call.signal });
    }
  }
}

/**
 * Makes one call and returns the answer once it begins, if it is a success.
 *
 * @throws NoAnswerError, RefusedError
 */
export async function openCall(service: Service, { path, body, headers, ...call }: Call): Promise<Response> {
  const { url, key } = service;
  const response = await fetch(`${url}${path}`, {
    ...call,
    headers: {
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    // A redirect would carry the call to a place nobody has named.
    redirect: 'manual',
  }).catch((error: unknown) => {
    throw new NoAnswerError(url, error);
  });
  if (response.ok) return response;
  const { data = null } = problemSchema.safeParse(await readReply(service, response).catch(() => undefined));
  throw new RefusedError(url, response, data);
}

/**
 * Reads what JSON should say.
 *
 * @throws StrangeAnswerError
 */
export function judgeReply<Schema extends z.ZodType>(
  { url }: Service,
  schema: Schema,
  reply: unknown,
): z.output<Schema> {
  const { data, error } = schema.safeParse(reply);
  if (error === undefined) return data;
  const [issue] = error.issues;
  throw new StrangeAnswerError(url, showLine(`${issue?.path.join('.')} ${issue?.message}`.trim()));
}

/** How long to wait before another try, in milliseconds; null when there is none. */
function findPause(error: NotifyError, tries: number): number | null {
  if (!error.temporary || tries === TRIES_MAX) return null;
  return Math.max(FIRST_PAUSE_MS * 2 ** (tries - 1), error.retryAfterSeconds * 1000);
}

/** The JSON of an answer; undefined when it is none. */
async function readReply({ url }: Service, response: Response): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.byteLength;
      if (bytes > REPLY_BYTES_MAX) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw new NoAnswerError(url, error);
  }
  if (bytes > REPLY_BYTES_MAX) throw new StrangeAnswerError(url, 'the answer has no end');
  return parseJson(Buffer.concat(chunks).toString());
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
