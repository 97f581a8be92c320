import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { PublishCommand, type SNSClient } from '@aws-sdk/client-sns';
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { CHANNEL_NAMES, type Channel } from '../channels.ts';
import { composeCanary, readCanary } from '../notifications/canary.ts';
import type { Diagnosis, Finding } from './diagnosis.ts';
import type { Fault } from './faults.ts';
import { RECEIVES_MAX } from './policies.ts';

/** A sender that runs may take a canary first and drop it, so another one is sent. */
const CANARIES_MAX = 3;
/** How long each is waited for, in seconds: from SNS to SQS takes a fraction of one. */
const CANARY_WAIT_SECONDS = 4;
/** Between two looks while messages of others are in the way: long enough for a canary to arrive meanwhile. */
const LOOK_PAUSE_MS = 500;
/** Should this process die with messages in hand, they come back after this. */
const HOLD_SECONDS = 5;
/** A queue with more messages than this is left alone: a canary behind them would not be found. */
const BACKLOG_MAX = 100;
/** Receiving counts against a message. From here on no more is risked: the two that are left are for its sender. */
const RECEIVES_DARED = RECEIVES_MAX - 2;
/** The most that SQS hands out in one call. */
const RECEIVE_MESSAGES = 10;

type Path = {
  sns: SNSClient;
  sqs: SQSClient;
  topicArn: string;
  channel: Channel;
  queueUrl: string;
  /** The canaries of this run by their ids, of all paths: one may turn up where it should not. */
  sent: Map<string, Channel>;
  /** How the channel's own canary arrived. */
  arrived: 'raw' | 'wrapped' | null;
  /** Channels whose canaries turned up here. */
  strays: Set<Channel>;
  /** Why the search was not begun, or ended early. */
  obstacle: Fault | null;
};

/**
 * Sends a canary down the path of every channel, receives it from the channel's queue and deletes it there. Messages of others
 * that are received meanwhile are given back at once. Rejects with the error of the AWS SDK.
 */
export async function sendCanaries(
  clients: { sns: SNSClient; sqs: SQSClient },
  { topicArn, queueUrls }: Pick<Diagnosis, 'topicArn' | 'queueUrls'>,
): Promise<Finding[]> {
  const sent = new Map<string, Channel>();
  const paths = CHANNEL_NAMES.flatMap((channel): Path[] => {
    const queueUrl = queueUrls[channel];
    if (topicArn === null || queueUrl === null) return [];
    const state = { arrived: null, strays: new Set<Channel>(), obstacle: null };
    return [{ ...clients, topicArn, channel, queueUrl, sent, ...state }];
  });
  await Promise.all(paths.map(tryPath));
  // What is left of those sent: a second one, or one in a queue that had its own already.
  await Promise.all(paths.filter(({ obstacle }) => obstacle === null).map((path) => look(path, 0)));
  return CHANNEL_NAMES.map((channel) => {
    const path = paths.find((tried) => tried.channel === channel);
    return { thing: 'canary', name: channel, faults: path === undefined ? [NO_PATH] : describePath(path) };
  });
}

/** Sends canaries, one at a time, until one is there. */
async function tryPath(path: Path): Promise<void> {
  const waiting = await countWaiting(path);
  if (waiting > BACKLOG_MAX) {
    path.obstacle = { what: `${waiting} messages wait in the queue, so no canary was sent.`, lost: UNTRIED };
    return;
  }
  for (let sent = 0; sent < CANARIES_MAX && path.arrived === null && path.obstacle === null; sent += 1) {
    // Looking begins first: the queue has been asked by the time the canary arrives, as it has been by any sender.
    await Promise.all([watch(path), sendCanary(path)]);
  }
}

async function countWaiting({ sqs, queueUrl }: Path): Promise<number> {
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['ApproximateNumberOfMessages'] }),
  );
  return Number(Attributes?.['ApproximateNumberOfMessages']);
}

async function sendCanary({ sns, topicArn, channel, sent }: Path): Promise<void> {
  const id = `canary/${randomUUID()}`;
  sent.set(id, channel);
  const { body, attributes } = composeCanary(channel, id);
  await sns.send(
    new PublishCommand({
      ...{ TopicArn: topicArn, Message: body, MessageGroupId: 'doctor' },
      MessageAttributes: Object.fromEntries(
        Object.entries(attributes).map(([name, StringValue]) => [name, { DataType: 'String', StringValue }]),
      ),
    }),
  );
}

/** Looks into the queue until the canary is there, its time is over, or messages of others must not be received again. */
async function watch(path: Path): Promise<void> {
  const deadline = Date.now() + CANARY_WAIT_SECONDS * 1_000;
  for (;;) {
    const left = Math.ceil((deadline - Date.now()) / 1_000);
    if (left <= 0) return;
    const receives = await look(path, left);
    if (path.arrived !== null) return;
    if (receives >= RECEIVES_DARED) {
      const what = `A message that waits in the queue was received ${receives} times, so the search was given up.`;
      path.obstacle = { what, lost: UNTRIED };
      return;
    }
    if (receives > 0) await pause(LOOK_PAUSE_MS);
  }
}

/**
 * Receives once, deletes every canary, notes those of this run, and gives back the rest. Resolves to how often that of the rest
 * which was received most was received, this time included; 0 when there is none.
 */
async function look(path: Path, waitSeconds: number): Promise<number> {
  const { sqs, queueUrl } = path;
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({
      ...{ QueueUrl: queueUrl, MaxNumberOfMessages: RECEIVE_MESSAGES, WaitTimeSeconds: waitSeconds },
      ...{ VisibilityTimeout: HOLD_SECONDS, MessageSystemAttributeNames: ['ApproximateReceiveCount'] },
    }),
  );
  const others = Messages.filter((message) => readCanary(message.Body ?? '') === null);
  await giveBack(path, others);
  await remove(
    path,
    Messages.filter((message) => !others.includes(message)),
  );
  return Math.max(0, ...others.map(({ Attributes }) => Number(Attributes?.['ApproximateReceiveCount'])));
}

async function giveBack({ sqs, queueUrl }: Path, messages: Message[]): Promise<void> {
  if (messages.length === 0) return;
  const Entries = messages.map(({ ReceiptHandle }, index) => ({
    ...{ Id: String(index), ReceiptHandle, VisibilityTimeout: 0 },
  }));
  await sqs.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }));
}

/** Also those that an earlier run left behind. */
async function remove(path: Path, canaries: Message[]): Promise<void> {
  if (canaries.length === 0) return;
  for (const { Body = '' } of canaries) note(path, Body);
  const Entries = canaries.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle }));
  await path.sqs.send(new DeleteMessageBatchCommand({ QueueUrl: path.queueUrl, Entries }));
}

function note(path: Path, body: string): void {
  const read = readCanary(body);
  const channel = path.sent.get(read?.canary.id ?? '');
  if (channel === path.channel) path.arrived = read?.wrapped === true ? 'wrapped' : 'raw';
  else if (channel !== undefined) path.strays.add(channel);
}

const UNTRIED = 'That cannot be told: the path was not tried to its end.';
const NO_PATH: Fault = { what: 'No canary was sent, as the topic or the queue is missing.', lost: UNTRIED };

function describePath({ channel, arrived, strays, obstacle }: Path): Fault[] {
  const faults = [...strays].map((stray) => ({
    what: `A canary for ${stray} arrived in the queue of ${channel}.`,
    lost: `Nothing by that; but messages for ${stray} reach the senders of ${channel}.`,
  }));
  if (obstacle !== null) return [obstacle, ...faults];
  if (arrived === 'wrapped') faults.unshift(WRAPPED);
  if (arrived === null) {
    const lost = `Every message for ${channel}; unless a sender that runs took the canaries and dropped them. Then stop it and try again.`;
    faults.unshift({
      what: `${CANARIES_MAX} canaries were sent, and none arrived within ${CANARY_WAIT_SECONDS} s.`,
      lost,
    });
  }
  return faults;
}

const WRAPPED: Fault = {
  what: 'The canary arrived in an envelope of SNS.',
  lost: 'Every message: senders cannot read it, and it ends in the dead-letter queue.',
};
