import { setTimeout as sleep } from 'node:timers/promises';
import {
  PublishBatchCommand,
  type PublishBatchCommandOutput,
  type SNSClient,
  SNSServiceException,
} from '@aws-sdk/client-sns';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { MESSAGE_BYTES_MAX, type Message } from './message.ts';

/** What SNS said of one message: the id it gave, or why it will never take it. */
export type Outcome = { message_id: string } | { code: string; reason: string };

/** Publishes messages and says what became of each, in the same order. */
export type Publisher = {
  /** Rejects only when `signal` is aborted. */
  publish: (messages: Message[], signal: AbortSignal) => Promise<Outcome[]>;
};

/** The most entries of a PublishBatch (AWS SNS quotas). */
const BATCH_ENTRIES_MAX = 10;
/** Times that SNS may fail a single message by a fault of its own, within about half a minute: then it is the message after all. */
const ENTRY_FAULTS_MAX = 20;
/** First pause before a retry; it doubles each time, with full jitter, so that processes do not retry in step. */
const BACKOFF_FIRST_MS = 100;
/** Longest pause: an outage that ends is noticed within this time. */
const BACKOFF_MAX_MS = 5_000;

/** Errors by which SNS refuses what was asked, whenever it is asked again (AWS SNS API, PublishBatch, "Errors"). */
const REFUSALS =
  /^(Invalid(Parameter|ParameterValue|BatchEntryId)|BatchRequestTooLong|ValidationError|Validation)(Exception)?$/;

/** A refusal that names the topic is about the service's configuration, whatever the messages. */
const TOPIC_AT_FAULT = /TopicArn/;

/** Codes by which SNS asks for patience; never a reason to give a message up. */
const THROTTLING = /throttl|TooManyRequests|RequestLimitExceeded/i;

type Deps = { sns: SNSClient; topicArn: string; concurrency: number; log: Pick<Logger, 'warn'> };

/**
 * Publishes to one topic with at most `concurrency` calls at a time. Throttling, 5xx, timeouts and missing rights are
 * waited out, however long they last: only a message that SNS refuses as such ends as refused, and alone.
 */
export function createPublisher(deps: Deps): Publisher {
  const limit = pLimit(deps.concurrency);
  return {
    async publish(messages, signal) {
      const outcomes = new Map<Message, Outcome>();
      const batches = groupBatches(messages);
      await Promise.all(batches.map((batch) => limit(() => publishBatch(deps, batch, outcomes, signal))));
      return messages.map((message) => outcomes.get(message) ?? failUnanswered());
    },
  };
}

/** Groups messages into batches of at most 10 entries and 256 KiB in all. */
function groupBatches(messages: Message[]): Message[][] {
  const batches: Message[][] = [];
  let batch: Message[] = [];
  let bytes = 0;
  for (const message of messages) {
    if (batch.length === BATCH_ENTRIES_MAX || (batch.length > 0 && bytes + message.bytes > MESSAGE_BYTES_MAX)) {
      batches.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(message);
    bytes += message.bytes;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

async function publishBatch(deps: Deps, batch: Message[], outcomes: Map<Message, Outcome>, signal: AbortSignal) {
  signal.throwIfAborted();
  const faults = new Map<Message, number>();
  let pending = batch;
  for (let tries = 0; pending.length > 0; tries++) {
    if (tries > 0) await backOff(tries, signal);
    try {
      const reply = await deps.sns.send(toCommand(deps.topicArn, pending), { abortSignal: signal });
      pending = readReply(reply, pending, outcomes, faults);
    } catch (error) {
      signal.throwIfAborted();
      const { name, message } = error as Error;
      if (REFUSALS.test(name) && !TOPIC_AT_FAULT.test(message)) {
        return isolateRefusal(deps, pending, outcomes, signal, error as Error);
      }
      const fault = { error: name, ...describeFault(error as Error), tries: tries + 1 };
      deps.log.warn(fault, 'SNS did not take a batch; it will be tried again');
    }
  }
}

/** What SNS says may quote a message, and with it an address; what a socket says cannot. */
function describeFault(error: Error): { status?: number | undefined } | { reason: string } {
  return error instanceof SNSServiceException ? { status: error.$metadata.httpStatusCode } : { reason: error.message };
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
    outcomes.set(only, { code: error.name.replace(/Exception$/, ''), reason: error.message });
    return;
  }
  for (const message of pending) await publishBatch(deps, [message], outcomes, signal);
}

/** Takes over what the reply settles, counts faults, and returns the messages to try again, alone. */
function readReply(
  reply: PublishBatchCommandOutput,
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
    if (SenderFault === true || count === ENTRY_FAULTS_MAX) outcomes.set(message, { code: Code, reason });
  }
  return sent.filter((message) => !outcomes.has(message));
}

function toCommand(topicArn: string, messages: Message[]): PublishBatchCommand {
  return new PublishBatchCommand({
    TopicArn: topicArn,
    PublishBatchRequestEntries: messages.map((message, index) => ({
      Id: String(index),
      Message: message.body,
      MessageGroupId: message.group_id,
      MessageAttributes: Object.fromEntries(
        Object.entries(message.attributes).map(([name, value]) => [name, { DataType: 'String', StringValue: value }]),
      ),
    })),
  });
}

async function backOff(tries: number, signal: AbortSignal): Promise<void> {
  const longestMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(tries - 1, 10));
  await sleep(Math.random() * longestMs, undefined, { signal });
}

function failUnanswered(): never {
  throw new Error('A message was neither published nor refused.');
}
