/**
 * SNS in a process of its own, started by `startSink`: it takes every PublishBatch, or as many as it is told to, and notes for
 * whom the messages were. Made to be cheap, as it shares the machine with what is measured.
 */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBucket } from '../support/counting-sink.ts';
import { answerCalls } from './child.ts';

/** Calls whose bodies are kept, as samples of what is published. */
const SAMPLES_MAX = 50;
/** A count in the journal stops there. */
const TIMES_MAX = 255;

/** How the parts that are looked for stand in a form: `.Id=` of an entry, and `"user_id":` of a message. */
const ENTRY_ID = Buffer.from('.Id=');
const USER_ID = Buffer.from('user_id%22%3A');
const [ZERO, NINE] = [0x30, 0x39];

const server = createServer((request, response) => void receive(request, response));
let bucket = createBucket(Number.POSITIVE_INFINITY);
let latencyMs = 0;
let samples: string[] = [];
/** How many times each user was told, by id, and when first, in ms since 1970; those of other ids are strangers. */
let journal = { times: new Uint8Array(0), at: new Float64Array(0), strangers: 0 };
let totals = { calls: 0, messages: 0, throttled: 0 };

const handlers = {
  async listen(): Promise<string> {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
  /** Forgets everything; users have the ids from 1 to `users`. */
  reset(users: number): void {
    journal = { times: new Uint8Array(users + 1), at: new Float64Array(users + 1), strangers: 0 };
    totals = { calls: 0, messages: 0, throttled: 0 };
    samples = [];
  },
  /** Takes so many messages a second from now on, and answers each call that much later. */
  behave(perSecond: number, ms: number): void {
    bucket = createBucket(perSecond);
    latencyMs = ms;
  },
  readTotals: () => ({ ...totals, at: performance.now() }),
  readJournal: () => journal,
  /** The first calls since it was reset, as they came. */
  readSamples: () => samples,
};
export type SinkHandlers = typeof handlers;

answerCalls(handlers);

async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  // Whoever hangs up in the middle of a call is not answered.
  await once(request, 'end').catch(() => undefined);
  if (!request.complete) return;
  const form = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
  const ids = readNumbers(form, ENTRY_ID);
  const taken = bucket.take(ids.length);
  if (taken) note(form, ids.length);
  else totals.throttled += 1;
  if (latencyMs > 0) await sleep(latencyMs);
  if (taken) accept(response, ids);
  else refuse(response);
}

function note(form: Buffer, messages: number): void {
  totals.calls += 1;
  totals.messages += messages;
  const now = performance.timeOrigin + performance.now();
  for (const id of readNumbers(form, USER_ID)) {
    const times = journal.times[id];
    if (times === undefined) journal.strangers += 1;
    else {
      journal.times[id] = Math.min(times + 1, TIMES_MAX);
      journal.at[id] ||= now;
    }
  }
  if (samples.length < SAMPLES_MAX) samples.push(form.toString('latin1'));
}

/** The whole numbers right behind each occurrence of a text. */
function readNumbers(form: Buffer, text: Buffer): number[] {
  const numbers: number[] = [];
  for (let found = form.indexOf(text); found >= 0; found = form.indexOf(text, found)) {
    found += text.length;
    let number = 0;
    for (let digit = form[found] ?? 0; digit >= ZERO && digit <= NINE; digit = form[++found] ?? 0) {
      number = number * 10 + digit - ZERO;
    }
    numbers.push(number);
  }
  return numbers;
}

const NAMESPACE = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"';

function accept(response: ServerResponse, ids: number[]): void {
  const members = ids.map((id) => `<member><Id>${id}</Id><MessageId>${randomUUID()}</MessageId></member>`);
  const result = `<Successful>${members.join('')}</Successful><Failed/>`;
  reply(response, 200, 'PublishBatchResponse', `<PublishBatchResult>${result}</PublishBatchResult>`);
}

function refuse(response: ServerResponse): void {
  const error = '<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>';
  reply(response, 400, 'ErrorResponse', `${error}<RequestId>${randomUUID()}</RequestId>`);
}

function reply(response: ServerResponse, status: number, element: string, content: string): void {
  const metadata = `<ResponseMetadata><RequestId>${randomUUID()}</RequestId></ResponseMetadata>`;
  const body = `<${element} ${NAMESPACE}>${content}${status === 200 ? metadata : ''}</${element}>`;
  response.writeHead(status, { 'content-type': 'text/xml', 'content-length': body.length }).end(body);
}
