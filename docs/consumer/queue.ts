import { setTimeout as sleep } from 'node:timers/promises';
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';

export type Queue = { sqs: SQSClient; queueUrl: string; visibilitySeconds: number; waitSeconds: number };

/** The most that SQS hands out, extends and deletes in one call. */
export const BATCH_MESSAGES = 10;
/** A call to SQS takes milliseconds; a receive may take this longer than it waits. */
const CALL_TIMEOUT_MS = 5_000;
/** Extended three times per visibility timeout: one call may fail without the message being given to somebody else. */
const EXTENSIONS_PER_TIMEOUT = 3;

/** Waits for messages, `max` at most. Rejects with what the SDK rejects with, and when the signal is aborted. */
export async function receiveMessages(queue: Queue, max: number, signal: AbortSignal): Promise<Message[]> {
  const { sqs, queueUrl, visibilitySeconds, waitSeconds } = queue;
  const command = new ReceiveMessageCommand({
    ...{ QueueUrl: queueUrl, MaxNumberOfMessages: max },
    ...{ WaitTimeSeconds: waitSeconds, VisibilityTimeout: visibilitySeconds },
  });
  const requestTimeout = waitSeconds * 1_000 + CALL_TIMEOUT_MS;
  const { Messages = [] } = await sqs.send(command, { abortSignal: signal, requestTimeout });
  return Messages;
}

/** Keeps the messages in hand, which may become fewer, from being given to anybody else while the work goes on. */
export async function holdWhile<Result>(
  queue: Queue,
  { inHand, onError }: { inHand: Set<Message>; onError: (error: unknown) => void },
  work: () => Promise<Result>,
): Promise<Result> {
  const finished = new AbortController();
  const hold = async () => {
    const everyMs = (queue.visibilitySeconds * 1_000) / EXTENSIONS_PER_TIMEOUT;
    for (;;) {
      await pause(everyMs, finished.signal);
      if (finished.signal.aborted) return;
      await changeVisibility(queue, [...inHand], queue.visibilitySeconds).catch(onError);
    }
  };
  const holding = hold();
  try {
    return await work();
  } finally {
    finished.abort();
    // An extension under way must not overtake what is done with the messages next.
    await holding;
  }
}

/** Gives messages back, for anybody to receive at once. */
export function releaseMessages(queue: Queue, messages: Message[]): Promise<void> {
  return changeVisibility(queue, messages, 0);
}

/** What SQS refuses for a single message stays so: the message comes again, and its recipients are known. */
export async function deleteMessages({ sqs, queueUrl }: Queue, messages: Message[]): Promise<void> {
  if (messages.length === 0) return;
  const command = new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries: messages.map(entryOf) });
  await sqs.send(command, { requestTimeout: CALL_TIMEOUT_MS });
}

/** Likewise. */
async function changeVisibility({ sqs, queueUrl }: Queue, messages: Message[], seconds: number): Promise<void> {
  if (messages.length === 0) return;
  const Entries = messages.map((message, index) => ({ ...entryOf(message, index), VisibilityTimeout: seconds }));
  const command = new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries });
  await sqs.send(command, { requestTimeout: CALL_TIMEOUT_MS });
}

const entryOf = ({ ReceiptHandle }: Message, index: number) => ({ Id: String(index), ReceiptHandle });

/** Ends early when the signal is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
