import { setTimeout as sleep } from 'node:timers/promises';
import { EventSourceParserStream, ParseError } from 'eventsource-parser/stream';
import { NoAnswerError, NotifyError, StrangeAnswerError } from './failures.ts';
import { type Progress, progressSchema } from './replies.ts';
import { judgeReply, openCall, type Service } from './service-call.ts';

/** Without a word for so long, heartbeats included, a connection is dead. */
const SILENCE_MS = 60_000;
/** How long to go on without an event or a comment: a deployment that went wrong is turned back by then. */
const GIVE_UP_MS = 5 * 60_000;
/** Before the first try to connect again, unless the service says; it doubles with each further one. */
const PAUSE_MS = 2_000;
const PAUSE_MS_MAX = 30_000;
/** An event is about 1 KiB. */
const EVENT_CHARS_MAX = 64 * 1024;

/** What is told while a notification is watched. */
export type Watcher = {
  show: (progress: Progress) => void;
  /** The connection is lost, and will be tried again. */
  miss: () => void;
};

/**
 * Watches a notification until it has ended, through any number of connections. Returns how it ended.
 *
 * @throws NoAnswerError, RefusedError after five minutes without an event or a comment; StrangeAnswerError
 * @throws what the signal was aborted with
 */
export async function watchNotification(
  service: Service,
  id: string,
  watcher: Watcher,
  signal: AbortSignal,
): Promise<Progress> {
  const line = { heardAt: performance.now(), pauseMs: PAUSE_MS };
  let pauseMs = line.pauseMs;
  for (;;) {
    let retryAfterSeconds = 0;
    try {
      for await (const { type, progress } of readEvents(service, id, line, signal)) {
        pauseMs = line.pauseMs;
        watcher.show(progress);
        if (type === 'end') return progress;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof NotifyError && error.temporary)) throw error;
      if (performance.now() - line.heardAt > GIVE_UP_MS) throw error;
      watcher.miss();
      ({ retryAfterSeconds } = error);
    }
    await sleep(Math.max(pauseMs, retryAfterSeconds * 1000), undefined, { signal });
    pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
  }
}

/**
 * The events of one connection, which ends when the service ends it. Notes when it last heard, and the pause it is told.
 * A service says something on every connection: an answer without a word comes from something in front of it.
 */
async function* readEvents(
  service: Service,
  id: string,
  line: { heardAt: number; pauseMs: number },
  signal: AbortSignal,
): AsyncGenerator<{ type: string; progress: Progress }> {
  const silence = new AbortController();
  const watchdog = setTimeout(() => silence.abort(new Error('it fell silent')), SILENCE_MS);
  let isMute = true;
  const hear = () => {
    isMute = false;
    line.heardAt = performance.now();
    watchdog.refresh();
  };
  const onRetry = (ms: number) => {
    line.pauseMs = Math.min(ms, PAUSE_MS_MAX);
  };
  try {
    const events = await openEvents(service, id, AbortSignal.any([signal, silence.signal]));
    const parser = new EventSourceParserStream({ onComment: hear, onRetry, maxBufferSize: EVENT_CHARS_MAX });
    for await (const { event: type = '', data } of events.pipeThrough(parser)) {
      hear();
      if (type === 'progress' || type === 'end') yield { type, progress: readProgress(service, data) };
    }
    if (isMute) throw new NoAnswerError(service.url, new Error('a stream without events'));
  } catch (error) {
    // All that the parser refuses: more than fits its buffer.
    if (error instanceof ParseError) throw new StrangeAnswerError(service.url, 'an event has no end');
    throw error instanceof NotifyError ? error : new NoAnswerError(service.url, error);
  } finally {
    clearTimeout(watchdog);
    silence.abort();
  }
}

async function openEvents(service: Service, id: string, signal: AbortSignal): Promise<ReadableStream<string>> {
  const headers = { accept: 'text/event-stream' };
  const { body, headers: answered } = await openCall(service, { path: `/notifications/${id}/events`, headers, signal });
  if (body !== null && /^text\/event-stream\b/i.test(answered.get('content-type') ?? '')) {
    return body.pipeThrough(new TextDecoderStream());
  }
  throw new StrangeAnswerError(service.url, 'its events are no event stream');
}

function readProgress(service: Service, data: string): Progress {
  try {
    return judgeReply(service, progressSchema, JSON.parse(data));
  } catch (error) {
    throw error instanceof NotifyError ? error : new StrangeAnswerError(service.url, 'an event is not JSON');
  }
}
