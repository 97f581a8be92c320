import type { Channel } from '../channels.ts';
import { describeChannel, mapChannels, TOPIC_NAME, type TopologyRequest } from './channel.ts';
import { siblingArn } from './policies.ts';
import { createQueue } from './queue.ts';
import { ensure, inspect, type Step } from './reconcile.ts';
import { createSubscription } from './subscription.ts';
import { createTopic, describeTopic } from './topic.ts';

export type Topology = { topicArn: string; queueUrls: Record<Channel, string>; steps: Step[] };

export type TopologyCheck = {
  topicArn: string | null;
  queueUrls: Record<Channel, string | null>;
  steps: Step[];
  /** Whether provisioning would change anything. */
  drifted: boolean;
};

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
