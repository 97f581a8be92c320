import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Channel } from '../channels.ts';
import type { MessageKind } from '../notifications/message.ts';
import { RECEIVES_MAX } from './policies.ts';
import type { Resource } from './reconcile.ts';

/** What is wrong, and what is lost because of it: a sentence or two each. */
export type Fault = { what: string; lost: string };

/** An attribute that is not what it should be. Filter policies are judged by their effect instead. */
export type Difference = { attribute: string; wanted: string; present: string | undefined };

type Thing = Resource<{ arn: string; attributes: Record<string, string> }>['thing'];

/** The most attributes that a message may have under raw delivery; SNS discards one with more (AWS SNS, "Message attributes"). */
const ATTRIBUTES_MAX = 10;

const redriveSchema = z.object({ deadLetterTargetArn: z.string(), maxReceiveCount: z.coerce.number().optional() });
const statementSchema = z.looseObject({ Effect: z.string(), Condition: z.unknown().optional() });
/** A policy may write its only statement without the list. */
const policySchema = z.object({ Statement: z.union([z.array(statementSchema), statementSchema]) });

/** What follows from a thing that is not there. */
export function describeMissing(thing: Thing, channel: Channel): Fault {
  const what = `The ${thing} is missing.`;
  if (thing === 'subscription') {
    return { what, lost: `Every message for ${channel}: SNS drops them without a trace, and they count as published.` };
  }
  if (thing === 'queue') {
    const lost = `What was in it. Every message for ${channel} goes to the dead-letter queue, if that is there and the subscription names it, and is lost if not.`;
    return { what, lost };
  }
  const lost = `Whatever the queue refuses, at once. What senders cannot send by ${channel} comes back until it is too old, and is deleted then.`;
  return { what, lost };
}

/** What follows from a topic that is not there. */
export const MISSING_TOPIC: Fault = {
  what: 'The topic is missing.',
  lost: 'Nothing yet: nobody is told anything, and notifications wait in the database, unless they expire.',
};

/** What an attribute is, and what it should be. */
export function showDifference({ attribute, wanted, present }: Difference): string {
  return `${attribute} is ${present ? present : 'not set'}, and has to be ${wanted}.`;
}

/** What follows from an attribute that differs. */
export function describeDifference(thing: Thing, channel: Channel, difference: Difference): Fault {
  const { attribute, present } = difference;
  const what = showDifference(difference);
  if (attribute === 'Policy') return describePolicy(channel, difference);
  if (attribute === 'RedrivePolicy' && thing === 'queue') return { what, lost: describeRedrive(channel, difference) };
  if (attribute === 'RedrivePolicy') {
    return { what, lost: 'What the queue refuses, at once and without a trace, as SNS does not try again.' };
  }
  return { what, lost: LOST[attribute]?.(channel, present) ?? UNEXPLAINED };
}

/** By attribute: what is lost. The rest has words of its own. */
const LOST: Record<string, (channel: Channel, present: string | undefined) => string> = {
  RawMessageDelivery: (channel) =>
    `Every message for ${channel}: senders get an envelope of SNS that they cannot read, and each ends in the dead-letter queue after ${RECEIVES_MAX} receives.`,
  MessageRetentionPeriod: (_, present) =>
    `Messages that nobody has dealt with ${present} seconds after they were published.`,
  ReceiveMessageWaitTimeSeconds: () =>
    'Nothing; but senders that do not ask to wait get empty answers, and pay for them.',
  RedriveAllowPolicy: (channel) =>
    `What senders cannot send by ${channel}: SQS may refuse to move it here, and it comes back until it is too old.`,
};

/** Encryption, in the main: nothing is lost while SNS may use the key. */
const UNEXPLAINED = 'Nothing, as long as SNS and the senders may use what is set there.';

/** The policy is judged by the statement that lets SNS send; as a whole it may be too long to be shown. */
function describePolicy(channel: Channel, { wanted, present }: Difference): Fault {
  const allow = readStatements(wanted).find(({ Effect }) => Effect === 'Allow');
  const allowing = readStatements(present).filter(({ Effect }) => Effect === 'Allow');
  const condition = JSON.stringify(allow?.Condition);
  if (allowing.some((statement) => isDeepStrictEqual(statement, allow))) {
    return {
      what: 'The policy lets the topic send, but is otherwise not the one that provisioning sets.',
      lost: 'Nothing, unless it forbids something besides; but others may be able to send, read or speak without TLS.',
    };
  }
  const topicArn = /arn:[^"]+/.exec(condition)?.[0] ?? condition;
  const near = allowing.find(({ Condition }) => Condition === undefined || mentions(Condition, topicArn));
  if (near !== undefined) {
    const what = `The policy has ${JSON.stringify(near)}, which is not how provisioning lets the topic send.`;
    return { what, lost: `Every message for ${channel} that SNS would put here, unless that lets it.` };
  }
  const others = allowing.map(({ Condition }) => JSON.stringify(Condition)).join(', ');
  return {
    what: `The policy lets ${others === '' ? 'nobody' : `others (${others})`} send, and not the topic (${condition}).`,
    lost: `Every message for ${channel} that SNS would put here is refused; it is lost where no dead-letter queue takes it.`,
  };
}

const mentions = (condition: unknown, arn: string) => JSON.stringify(condition).includes(`"${arn}"`);

/** The statements of a policy, without their names. */
function readStatements(text: string | undefined) {
  const { Statement } = policySchema.parse(text ? JSON.parse(text) : { Statement: [] });
  return [Statement].flat().map((statement) => ({ ...statement, Sid: undefined }));
}

function describeRedrive(channel: Channel, { wanted, present }: Difference): string {
  const target = redriveSchema.parse(JSON.parse(wanted)).deadLetterTargetArn;
  const redrive = present ? redriveSchema.parse(JSON.parse(present)) : undefined;
  if (redrive === undefined) {
    return `What senders cannot send by ${channel} comes back until it is too old, and is deleted then.`;
  }
  if (redrive.deadLetterTargetArn !== target) return `What senders cannot send by ${channel} goes where nobody looks.`;
  return `Nothing; but a message leaves for the dead-letter queue after ${redrive.maxReceiveCount} receives.`;
}

/** Messages that SNS would discard, whatever the topology. */
export function judgeMessages(kinds: MessageKind[]): Fault[] {
  const tooMany = kinds.filter(({ attributes }) => Object.keys(attributes).length > ATTRIBUTES_MAX);
  const [largest] = tooMany.toSorted((a, b) => countAttributes(b) - countAttributes(a));
  if (largest === undefined) return [];
  const names = Object.keys(largest.attributes).join(', ');
  const channels = new Set(tooMany.flatMap((kind) => kind.channels));
  return [
    {
      what: `A message may have ${countAttributes(largest)} attributes (${names}); raw delivery takes ${ATTRIBUTES_MAX} at most.`,
      lost: `Messages for ${[...channels].join(', ')} with more than ${ATTRIBUTES_MAX}: SNS discards them, and they count as published.`,
    },
  ];
}

const countAttributes = ({ attributes }: MessageKind) => Object.keys(attributes).length;
