import { setTimeout as pause } from 'node:timers/promises';
import { DeleteMessageBatchCommand, type Message, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { CHANNEL_NAMES, type Channel } from '../channels.ts';
import { readCanary } from '../notifications/canary.ts';
import { messageSchema } from '../notifications/message.ts';
import { showLine } from '../notify/terminal-text.ts';
import { createDeliveryLog, type DeliveryLog, WINDOW_MS } from './delivery-log.ts';

/** Well under any request timeout the client may have; a stop aborts the wait. */
const RECEIVE_WAIT_SECONDS = 5;
/** The most that SQS hands out, and deletes, in one call. */
const RECEIVE_MESSAGES = 10;
/** A queue that cannot be reached is tried again after this. */
const RETRY_PAUSE_MS = 1_000;

type Sender = {
  sqs: SQSClient;
  channel: Channel;
  queueUrl: string;
  print: (line: string) => void;
  signal: AbortSignal;
};

/**
 * Stands in for the services that deliver: drains the queue of every channel, prints a line per recipient and deletes what it
 * printed. A message it cannot read stays in the queue, to end in the dead-letter queue. Resolves once `signal` is aborted;
 * an unreachable queue is printed once and tried again, so it never rejects.
 */
export async function runSenders(senders: {
  sqs: SQSClient;
  queueUrls: Record<Channel, string>;
  print: (line: string) => void;
  signal: AbortSignal;
}): Promise<void> {
  const { queueUrls, ...shared } = senders;
  const log = createDeliveryLog(shared.print, Date.now);
  const ticker = setInterval(() => log.tick(), WINDOW_MS);
  await Promise.all(
    CHANNEL_NAMES.map((channel) => runSender({ ...shared, channel, queueUrl: queueUrls[channel] }, log)),
  );
  clearInterval(ticker);
  log.close();
}

async function runSender(sender: Sender, log: DeliveryLog): Promise<void> {
  const { channel, print, signal } = sender;
  let reachable = true;
  while (!signal.aborted) {
    try {
      await deliverNext(sender, log);
      if (!reachable) print(`${channel} → the queue can be reached again`);
      reachable = true;
    } catch (error) {
      if (signal.aborted) return;
      if (reachable) print(`${channel} → the queue cannot be reached (${describeError(error)}), trying again`);
      reachable = false;
      // Rejects only when the signal is aborted, and then the loop ends.
      await pause(RETRY_PAUSE_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Waits for messages, prints them, and deletes those that could be read. */
async function deliverNext({ sqs, channel, queueUrl, signal }: Sender, log: DeliveryLog): Promise<void> {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: RECEIVE_MESSAGES,
      WaitTimeSeconds: RECEIVE_WAIT_SECONDS,
    }),
    { abortSignal: signal },
  );
  const delivered = Messages.filter((message) => deliver(message, channel, log));
  if (delivered.length === 0) return;
  const Entries = delivered.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle }));
  await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }), { abortSignal: signal });
}

/** Prints a message and tells whether it could be read. */
function deliver(message: Message, channel: Channel, log: DeliveryLog): boolean {
  const lines = composeLines(channel, message.Body ?? '');
  if (lines === null) log.add(channel, `${channel} → message ${message.MessageId} cannot be read: left in the queue`);
  else for (const line of lines) log.add(channel, line);
  return lines !== null;
}

/** A line for each recipient with an address on this channel, none for a canary; null when it is no message of this service. */
function composeLines(channel: Channel, body: string): string[] | null {
  if (readCanary(body) !== null) return [];
  const message = messageSchema.safeParse(parseJson(body));
  if (!message.success) return null;
  const { subject, payload, recipients } = message.data.data;
  const text = subject === null ? showLine(payload) : `[${showLine(subject)}] ${showLine(payload)}`;
  const addresses = recipients.map((recipient) => recipient[channel]).filter((address) => address !== undefined);
  return addresses.map((address) => `${channel} → ${showLine(address)}: ${text}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error ? String(error.code) : error.message;
}
