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
import { describeQueue } from './queue.ts';
import { describeSubscription } from './subscription.ts';

export type TopologyRequest = {
  sns: SNSClient;
  sqs: SQSClient;
  /** The topic's name, and the first part of every queue's. */
  name?: string;
  /** Id, ARN or alias of a KMS key whose policy admits `sns.amazonaws.com`. Encrypts topic and queues. */
  kmsKeyId?: string | undefined;
};

export const TOPIC_NAME = 'notifications';

/** What belongs to one channel. ARNs derive from the ARN at hand, so that queues can be judged while the topic is missing. */
export function describeChannel(request: TopologyRequest, channel: Channel, topicArn: string | null) {
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
export async function mapChannels<Value>(visit: (channel: Channel) => Promise<Value>): Promise<Record<Channel, Value>> {
  const values = new Map<Channel, Value>();
  for (const channel of CHANNEL_NAMES) values.set(channel, await visit(channel));
  return Object.fromEntries(values) as Record<Channel, Value>;
}
