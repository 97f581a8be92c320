import type { SNSClient } from '@aws-sdk/client-sns';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { CHANNEL_NAMES, type Channel } from '../channels.ts';
import {
  deadLetterQueueAttributes,
  queueAttributes,
  queueEncryption,
  siblingArn,
  subscriptionAttributes,
} from './policies.ts';
import { createQueue, describeQueue } from './queue.ts';
import { ensure, inspect, type Step } from './reconcile.ts';
import { createSubscription, describeSubscription } from './subscription.ts';
import { createTopic, describeTopic } from './topic.ts';

export type TopologyRequest = {
  sns: SNSClient;
  sqs: SQSClient;
  /** The topic's name, and the first part of every queue's. */
  name?: string;
  /** Id, ARN or alias of a KMS key whose policy admits `sns.amazonaws.com`. Encrypts topic and queues. */
  kmsKeyId?: string | undefined;
};

export type Topology = { topicArn: string; queueUrls: Record<Channel, string>; steps: Step[] };

export type TopologyCheck = {
  topicArn: string | null;
  queueUrls: Record<Channel, string | null>;
  steps: Step[];
  /** Whether provisioning would change anything. */
  drifted: boolean;
};

const TOPIC_NAME = 'notifications';

/**
 * Creates the topic and each channel's queue, dead-letter queue and subscription, or corrects those attributes that differ.
 * Safe to repeat, also after a failure halfway. Rejects with the error of the AWS SDK.
 */
export async function provisionTopology(request: TopologyRequest): Promise<Topology> {
  const { sns, sqs, name = TOPIC_NAME, kmsKeyId } = request;
  const steps: Step[] = [];
  const topic = await ensure(describeTopic(sns, name, kmsKeyId), () => createTopic(sns, name, kmsKeyId), steps);
  const queueUrls = await mapChannels(async (channel) => {
    const { deadLetterQueue, queue, subscription } = describeChannel(request, channel, topic.arn);
    const deadLetterArn = siblingArn(topic.arn, 'sqs', deadLetterQueue.name);
    const queueArn = siblingArn(topic.arn, 'sqs', queue.name);
    await ensure(deadLetterQueue, () => createQueue(sqs, deadLetterQueue, deadLetterArn), steps);
    const { url } = await ensure(queue, () => createQueue(sqs, queue, queueArn), steps);
    await ensure(subscription, () => createSubscription(sns, subscription, topic.arn, queueArn), steps);
    return url;
  });
  return { topicArn: topic.arn, queueUrls, steps };
}

/** Compares what is there with what `provisionTopology` would make of it, and changes nothing. */
export async function checkTopology(request: TopologyRequest): Promise<TopologyCheck> {
  const { sns, name = TOPIC_NAME, kmsKeyId } = request;
  const steps: Step[] = [];
  const topic = await inspect(describeTopic(sns, name, kmsKeyId), steps);
  const topicArn = topic === null ? null : topic.arn;
  const queueUrls = await mapChannels(async (channel) => {
    const { deadLetterQueue, queue, subscription } = describeChannel(request, channel, topicArn);
    await inspect(deadLetterQueue, steps);
    const found = await inspect(queue, steps);
    await inspect(subscription, steps);
    return found === null ? null : found.url;
  });
  return { topicArn, queueUrls, steps, drifted: steps.some(({ outcome }) => outcome !== 'unchanged') };
}

/** What belongs to one channel. ARNs derive from the ARN at hand, so that queues can be judged while the topic is missing. */
function describeChannel(request: TopologyRequest, channel: Channel, topicArn: string | null) {
  const { sns, sqs, name = TOPIC_NAME, kmsKeyId } = request;
  const queueName = `${name}-${channel}`;
  const deadLetterName = `${queueName}-dlq`;
  const topicNear = (arn: string) => siblingArn(arn, 'sns', name);
  const queueNear = (arn: string) => siblingArn(arn, 'sqs', queueName);
  const deadLetterNear = (arn: string) => siblingArn(arn, 'sqs', deadLetterName);
  return {
    deadLetterQueue: describeQueue(sqs, {
      thing: 'dead-letter queue',
      name: deadLetterName,
      wanted: (arn, present) => ({
        ...deadLetterQueueAttributes(arn, topicNear(arn), queueNear(arn)),
        ...queueEncryption(kmsKeyId, present),
      }),
    }),
    queue: describeQueue(sqs, {
      thing: 'queue',
      name: queueName,
      wanted: (arn, present) => ({
        ...queueAttributes(arn, topicNear(arn), deadLetterNear(arn)),
        ...queueEncryption(kmsKeyId, present),
      }),
    }),
    subscription: describeSubscription(sns, topicArn, {
      name: queueName,
      wanted: (arn) => subscriptionAttributes(channel, deadLetterNear(arn)),
    }),
  };
}

/** One channel after the other, in the order of the registry: so are the steps reported. */
async function mapChannels<Value>(visit: (channel: Channel) => Promise<Value>): Promise<Record<Channel, Value>> {
  const values = new Map<Channel, Value>();
  for (const channel of CHANNEL_NAMES) values.set(channel, await visit(channel));
  return Object.fromEntries(values) as Record<Channel, Value>;
}
