import { setTimeout as sleep } from 'node:timers/promises';
import { type SNSClient, SNSServiceException } from '@aws-sdk/client-sns';
import type { Logger } from 'pino';
import { groupBatches } from './batches.ts';
import type { Governor } from './governor.ts';
import { createLanes } from './lanes.ts';
import type { Measures } from './measures.ts';
import type { Message } from './message.ts';
import { createOutage, type Outage, PROBE_INTERVAL_MS } from './outage.ts';
import { type BatchReply, createPublishBatch, type PublishBatch } from './publish-batch.ts';
import { describeRefusal, type Refusal } from './refusal.ts';
import { REFUSALS, THROTTLING, watchCall } from './sns-call.ts';

/** What SNS said of one message: the id it gave, or why it will never take it. */
export type Outcome = { message_id: string } | Refusal;

/** Publishes messages and says what became of each, in the same order. */
export type Publisher = {
  /** Rejects only when `signal` is aborted. */
  publish: (messages: Message[], signal: AbortSignal) => Promise<Outcome[]>;
};

/** Whoever has no more messages than one call holds may pass. */
const PASSING_MESSAGES_MAX = 10;
/** Times that SNS may fail a single message by a fault of its own, within about half a minute: then it is the message after all. */
const ENTRY_FAULTS_MAX = 20;
/** First pause before a retry; it doubles each time, with full jitter, so that processes do not retry in step. */
const BACKOFF_FIRST_MS = 100;
/** Longest pause: an outage that ends is noticed within this time. */
const BACKOFF_MAX_MS = 5_000;
/** Longest pause of a batch that was throttled: it is the governor that slows down, and this only parts those throttled at once. */
const THROTTLED_PAUSE_MS = 100;

/** A refusal that names the topic is about the service's configuration, whatever the messages. */
const TOPIC_AT_FAULT = /TopicArn/;

type Options = {
  sns: SNSClient;
  topicArn: string;
  concurrency: number;
  governor: Governor;
  measures: Measures;
  log: Pick<Logger, 'info' | 'warn'>;
  /** How often to find out whether SNS is back, if not as often as ever. */
  probeIntervalMs?: number;
};

/** What each batch is published with. */
type Deps = Pick<Options, 'governor' | 'measures' | 'log'> & { send: PublishBatch; outage: Outage };

/**
 * Publishes to one topic with at most `concurrency` calls at a time, each when the governor admits it. Throttling, 5xx,
 * timeouts and missing rights are waited out, however long they last, an outage by all batches together: only a message
 * that SNS refuses as such ends as refused, and alone. Whoever has one batch only does not wait behind the pages of a
 * broadcast.
 */
export function createPublisher({ sns, topicArn, concurrency, ...options }: Options): Publisher {
  const { measures, log, probeIntervalMs = PROBE_INTERVAL_MS } = options;
  const onChange = (isOn: boolean) => {
    measures.publish.outage = isOn;
  };
  const send = createPublishBatch(sns, topicArn);
  const deps = { ...options, send, outage: createOutage({ probeIntervalMs, log, onChange }) };
  const lanes = createLanes(concurrency);
  return {
    async publish(messages, signal) {
      const outcomes = new Map<Message, Outcome>();
      const batches = groupBatches(messages, deps.governor.batchMax);
      const lane = messages.length <= PASSING_MESSAGES_MAX ? 'passing' : 'slow';
      await Promise.all(batches.map((batch) => lanes.run(lane, () => publishBatch(deps, batch, outcomes, signal))));
      return messages.map((message) => outcomes.get(message) ?? failUnanswered());
    },
  };
}

async function publishBatch(deps: Deps, batch: Message[], outcomes: Map<Message, Outcome>, signal: AbortSignal) {
  const faults = new Map<Message, number>();
  let pending = batch;
  for (let tries = 1; pending.length > 0; ) {
    const { length } = pending;
    const noteCall = await deps.outage.enter(() => deps.governor.admit(length, signal), signal);
    let throttled = 0;
    try {
      const reply = await watchCall({ ...deps, noteCall, signal }, (abortSignal) => deps.send(pending, abortSignal));
      pending = readReply(reply, pending, outcomes, faults);
      throttled = countThrottled(reply);
      deps.governor.report({ accepted: reply.Successful?.length ?? 0, throttled });
    } catch (error) {
      signal.throwIfAborted();
      const { name, message } = error as Error;
      if (REFUSALS.test(name) && !TOPIC_AT_FAULT.test(message)) {
        return isolateRefusal(deps, pending, outcomes, signal, error as Error);
      }
      if (THROTTLING.test(name)) throttled = pending.length;
      if (throttled > 0) deps.governor.report({ accepted: 0, throttled });
      else if (!deps.outage.isOn()) logFault(deps.log, error as Error, tries);
    }
    deps.measures.publish.throttled += throttled;
    if (pending.length > 0) deps.measures.publish.retries += 1;
    // Among those throttled may be others, whose tries are counted: they are not to be used up by the pace of the former.
    const isPaced = throttled === pending.length;
    // While SNS is away, it is the outage that says when to try again.
    if (pending.length > 0 && !deps.outage.isOn())
      await (isPaced ? pause(THROTTLED_PAUSE_MS, signal) : backOff(tries++, signal));
  }
}

const countThrottled = ({ Failed = [] }: BatchReply) => Failed.filter(({ Code = '' }) => THROTTLING.test(Code)).length;

/** What SNS says may quote a message, and with it an address; what a socket says cannot. */
function logFault(log: Deps['log'], error: Error, tries: number): void {
  const fault =
    error instanceof SNSServiceException ? { status: error.$metadata.httpStatusCode } : { reason: error.message };
  log.warn({ error: error.name, ...fault, tries }, 'SNS did not take a batch; it will be tried again');
}

/** The call as a whole was refused: each message goes alone, so that the one at fault does not take its neighbours along. */
async function isolateRefusal(
  deps: Deps,
  pending: Message[],
  outcomes: Map<Message, Outcome>,
  signal: AbortSignal,
  error: Error,
) {
  const [only] = pending;
  if (pending.length === 1 && only !== undefined) {
    outcomes.set(only, describeRefusal(error.name.replace(/Exception$/, ''), error.message));
    return;
  }
  for (const message of pending) await publishBatch(deps, [message], outcomes, signal);
}

/** Takes over what the reply settles, counts faults, and returns the messages to try again, alone. */
function readReply(
  reply: BatchReply,
  sent: Message[],
  outcomes: Map<Message, Outcome>,
  faults: Map<Message, number>,
): Message[] {
  for (const { Id, MessageId } of reply.Successful ?? []) {
    const message = sent[Number(Id)];
    if (message !== undefined && MessageId !== undefined) outcomes.set(message, { message_id: MessageId });
  }
  for (const { Id, Code = 'Unknown', Message: reason = '', SenderFault } of reply.Failed ?? []) {
    const message = sent[Number(Id)];
    if (message === undefined || THROTTLING.test(Code)) continue;
    const count = (faults.get(message) ?? 0) + 1;
    faults.set(message, count);
    if (SenderFault === true || count === ENTRY_FAULTS_MAX) outcomes.set(message, describeRefusal(Code, reason));
  }
  return sent.filter((message) => !outcomes.has(message));
}

/** Pauses after the given number of tries that SNS did not take. */
function backOff(tries: number, signal: AbortSignal): Promise<void> {
  return pause(Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(tries - 1, 10)), signal);
}

/** Pauses for a random time. */
async function pause(longestMs: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.random() * longestMs, undefined, { signal });
}

function failUnanswered(): never {
  throw new Error('A message was neither published nor refused.');
}
