import { randomUUID } from 'node:crypto';
import {
  GetSubscriptionAttributesCommand,
  ListSubscriptionsByTopicCommand,
  SetSubscriptionAttributesCommand,
  UnsubscribeCommand,
} from '@aws-sdk/client-sns';
import {
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  type QueueAttributeName,
  SetQueueAttributesCommand,
} from '@aws-sdk/client-sqs';
import { createClients } from '../../src/topology/clients.ts';
import { provisionTopology } from '../../src/topology/provision.ts';

const { sns, sqs } = createClients();

const QUEUE_ATTRIBUTES: QueueAttributeName[] = [
  'QueueArn',
  'MessageRetentionPeriod',
  'ReceiveMessageWaitTimeSeconds',
  'RedrivePolicy',
  'RedriveAllowPolicy',
  'Policy',
  'KmsMasterKeyId',
  'SqsManagedSseEnabled',
];

/** A name that no other topology has. */
export const createName = () => `topology-${randomUUID()}`;

/** A topology of its own, as provisioning makes it. */
export async function provisionAnew() {
  const name = createName();
  const topology = await provisionTopology({ sns, sqs, name });
  return { name, ...topology };
}

/** What provisioning made, and under which name. */
export type Place = Awaited<ReturnType<typeof provisionAnew>>;

/** The attributes of a queue by its name; null when there is no such queue. */
export async function readQueue(name: string) {
  try {
    const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: name }));
    return (await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: QUEUE_ATTRIBUTES }))).Attributes;
  } catch {
    return null;
  }
}

/** The attributes of every subscription of a topic, by the name of the queue it feeds. */
export async function readSubscriptions(topicArn: string) {
  const { Subscriptions = [] } = await sns.send(new ListSubscriptionsByTopicCommand({ TopicArn: topicArn }));
  const entries = Subscriptions.map(async ({ SubscriptionArn, Endpoint }) => {
    const { Attributes } = await sns.send(new GetSubscriptionAttributesCommand({ SubscriptionArn }));
    return [Endpoint?.split(':').at(-1), Attributes] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

async function subscriptionArnOf(topicArn: string, queueName: string): Promise<string | undefined> {
  return (await readSubscriptions(topicArn))[queueName]?.['SubscriptionArn'];
}

/** Changes one attribute of the subscription of a queue. */
export async function setSubscription(
  topicArn: string,
  queueName: string,
  AttributeName: string,
  AttributeValue: string,
) {
  const SubscriptionArn = await subscriptionArnOf(topicArn, queueName);
  await sns.send(new SetSubscriptionAttributesCommand({ SubscriptionArn, AttributeName, AttributeValue }));
}

/** Ends the subscription of the queue of a channel. */
export const unsubscribe = async ({ name, topicArn }: Place, channel: string) =>
  sns.send(new UnsubscribeCommand({ SubscriptionArn: await subscriptionArnOf(topicArn, `${name}-${channel}`) }));

/** Changes attributes of a queue. */
export const setQueue = (QueueUrl: string, Attributes: Record<string, string>) =>
  sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes }));

/** The policy of the e-mail queue, in favour of another topic. */
export const otherTopicPolicy = async ({ name, topicArn }: Place) =>
  (await readQueue(`${name}-email`))?.['Policy']?.replaceAll(topicArn, `${topicArn}-of-somebody-else`) ?? '';
