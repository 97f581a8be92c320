import type { Channel } from '../channels.ts';
import type { MessageKind } from '../notifications/message.ts';
import { describeChannel, mapChannels, TOPIC_NAME, type TopologyRequest } from './channel.ts';
import {
  type Difference,
  describeDifference,
  describeMissing,
  type Fault,
  judgeMessages,
  MISSING_TOPIC,
  showDifference,
} from './faults.ts';
import { judgeFilter } from './filter.ts';
import { type Attributes, differingAttributes, type Resource } from './reconcile.ts';
import { describeTopic } from './topic.ts';

/** What was found out about one thing. No fault: it is well. */
export type Finding = { thing: Resource<Found>['thing'] | 'messages' | 'canary'; name: string; faults: Fault[] };

export type Diagnosis = {
  topicArn: string | null;
  queueUrls: Record<Channel, string | null>;
  findings: Finding[];
};

type Found = { arn: string; attributes: Attributes };

type DiagnosisRequest = TopologyRequest & {
  /** What the publisher emits. */
  kinds: MessageKind[];
  /** The topic that the service is told to publish to, if that is known. */
  publishesTo?: string | undefined;
};

/**
 * Compares what is there with what `provisionTopology` would make of it and with what the publisher emits, and says of every
 * difference what it costs. Changes nothing. Rejects with the error of the AWS SDK.
 */
export async function diagnoseTopology(request: DiagnosisRequest): Promise<Diagnosis> {
  const { sns, name = TOPIC_NAME, kmsKeyId, kinds, publishesTo } = request;
  const findings: Finding[] = [{ thing: 'messages', name: 'as published', faults: judgeMessages(kinds) }];
  const topic = describeTopic(sns, name, kmsKeyId);
  const found = await topic.find();
  findings.push({ thing: 'topic', name, faults: judgeTopic(topic, found, publishesTo) });
  const topicArn = found === null ? null : found.arn;
  const queueUrls = await mapChannels((channel) => judgeChannel(request, channel, topicArn, findings));
  return { topicArn, queueUrls, findings };
}

function judgeTopic(topic: Resource<Found>, found: Found | null, publishesTo: string | undefined): Fault[] {
  if (found === null) return [MISSING_TOPIC];
  const faults = listDifferences(topic, found).map((difference) => ({
    what: showDifference(difference),
    lost: 'Nothing; but messages are not stored under the key that was asked for.',
  }));
  if (publishesTo !== undefined && publishesTo !== found.arn) {
    faults.push({
      what: `SNS_TOPIC_ARN is ${publishesTo}, and the queues are subscribed to ${found.arn}.`,
      lost: 'Every message, if the service is told the same: SNS takes them for a topic that no queue here hears of.',
    });
  }
  return faults;
}

/** Appends what is to be said of the channel's queues and subscription to `findings`, and resolves to the queue's URL. */
async function judgeChannel(
  request: DiagnosisRequest,
  channel: Channel,
  topicArn: string | null,
  findings: Finding[],
): Promise<string | null> {
  const { deadLetterQueue, queue, subscription } = describeChannel(request, channel, topicArn);
  findings.push(judgeThing(deadLetterQueue, await deadLetterQueue.find(), channel));
  const found = await queue.find();
  findings.push(judgeThing(queue, found, channel));
  // A topic that is missing has no subscriptions, and is enough to be told.
  if (topicArn === null) return found === null ? null : found.url;

  const subscribed = await subscription.find();
  const finding = judgeThing(subscription, subscribed, channel);
  if (subscribed !== null) {
    const wanted = subscription.wanted(subscribed.arn, subscribed.attributes);
    finding.faults.unshift(...judgeFilter(channel, subscribed.attributes, wanted, request.kinds));
  }
  findings.push(finding);
  return found === null ? null : found.url;
}

function judgeThing<Thing extends Found>(resource: Resource<Thing>, found: Thing | null, channel: Channel): Finding {
  const { thing, name } = resource;
  if (found === null) return { thing, name, faults: [describeMissing(thing, channel)] };
  const differences = listDifferences(resource, found).filter(({ attribute }) => !JUDGED_BY_EFFECT.test(attribute));
  return { thing, name, faults: differences.map((difference) => describeDifference(thing, channel, difference)) };
}

/** `FilterPolicy` and its scope. */
const JUDGED_BY_EFFECT = /^FilterPolicy/;

function listDifferences<Thing extends Found>(resource: Resource<Thing>, found: Thing): Difference[] {
  const differing = Object.entries(differingAttributes(resource, found));
  return differing.map(([attribute, wanted]) => ({ attribute, wanted, present: found.attributes[attribute] }));
}
