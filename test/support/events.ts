import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { createParser } from 'eventsource-parser';
import { onTestFinished } from 'vitest';
import type { NotificationProgress } from '../../src/notifications/progress-schema.ts';

/** An event as it came; `at` in ms, by `performance.now`. */
type Seen<Data> = { event: string | undefined; id: string | undefined; data: Data; at: number };

export type Watching<Data = NotificationProgress> = {
  response: IncomingMessage;
  events: Seen<Data>[];
  comments: string[];
  /** Every `retry` in ms. */
  retries: number[];
  /** Whether the stream has ended, and not been cut. */
  isWhole: () => boolean;
  /** Resolves when the connection is closed, by whom ever. */
  closed: Promise<unknown>;
  /** Hangs up. */
  close: () => void;
};

/** Opens a stream of events on a connection of its own. It goes with the test. Rejects when the answer is none. */
export async function watch<Data = NotificationProgress>(
  url: string,
  headers: Record<string, string> = {},
): Promise<Watching<Data>> {
  const response = await open(url, headers);
  if (response.statusCode !== 200) throw new Error(`${response.statusCode} ${await text(response)}`);
  const [events, comments, retries]: [Seen<Data>[], string[], number[]] = [[], [], []];
  const parser = createParser({
    onEvent: ({ event, id, data }) => void events.push({ event, id, data: JSON.parse(data), at: performance.now() }),
    onComment: (comment) => void comments.push(comment),
    onRetry: (ms) => void retries.push(ms),
  });
  response.setEncoding('utf8').on('data', (chunk: string) => parser.feed(chunk));
  const closed = once(response.socket, 'close');
  const close = () => response.destroy();
  return { response, events, comments, retries, isWhole: () => response.complete, closed, close };
}

/** The head of an answer. Nothing of its body is read. */
export async function open(url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const asked = request(url, { agent: false, headers });
  onTestFinished(() => void asked.destroy());
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  // Who is cut is told so.
  response.on('error', () => undefined);
  asked.on('error', () => undefined);
  return response;
}
