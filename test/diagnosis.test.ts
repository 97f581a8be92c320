import { DeleteTopicCommand } from '@aws-sdk/client-sns';
import { CreateQueueCommand, DeleteQueueCommand } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { listMessageKinds, type MessageKind } from '../src/notifications/message.ts';
import { createClients } from '../src/topology/clients.ts';
import { diagnoseTopology, type Finding } from '../src/topology/diagnosis.ts';
import {
  createName,
  otherTopicPolicy,
  type Place,
  provisionAnew,
  readQueue,
  setQueue,
  setSubscription,
  unsubscribe,
} from './support/topology.ts';

const { sns, sqs } = createClients();

const diagnose = (name: string, given: { kinds?: MessageKind[]; publishesTo?: string; kmsKeyId?: string } = {}) =>
  diagnoseTopology({ sns, sqs, name, kinds: listMessageKinds(), ...given });

/** What is at fault, in a line each: the thing, what is wrong with it, what is lost. */
const listFaults = (findings: Finding[], { name }: { name: string }) =>
  findings.flatMap(({ thing, name: of, faults }) =>
    faults.map(({ what, lost }) => `${thing} ${of.replace(name, '')}: ${what} Lost: ${lost}`),
  );

const setFilter = ({ name, topicArn }: Place, policy: string) =>
  setSubscription(topicArn, `${name}-email`, 'FilterPolicy', policy);

const deleteQueue = (QueueUrl: string) => sqs.send(new DeleteQueueCommand({ QueueUrl }));

/** A message of one channel with so many attributes. */
const kindWith = (attributes: number): MessageKind => ({
  channels: ['email'],
  attributes: { email: '1', ...Object.fromEntries(Array.from({ length: attributes - 1 }, (_, n) => [`a${n}`, '1'])) },
});

const single: { fault: string; cause: (place: Place) => Promise<unknown>; says: RegExp }[] = [
  {
    fault: 'a missing subscription',
    cause: (place) => unsubscribe(place, 'email'),
    says: /^subscription -email: The subscription is missing\. Lost: Every message for email: SNS drops them without a trace/,
  },
  {
    fault: 'a missing queue',
    cause: ({ queueUrls }) => deleteQueue(queueUrls.email),
    says: /^queue -email: The queue is missing\. Lost: What was in it\. Every message for email goes to the dead-letter queue/,
  },
  {
    fault: 'a missing dead-letter queue',
    cause: ({ queueUrls }) => deleteQueue(`${queueUrls.email}-dlq`),
    says: /^dead-letter queue -email-dlq: The .* is missing\. Lost: Whatever the queue refuses, at once\. What senders cannot send by email/,
  },
  {
    fault: 'a filter for an attribute that no message has',
    cause: (place) => setFilter(place, '{"e-mail":[{"exists":true}]}'),
    says: /^subscription -email: The filter policy is \{"e-mail":.*\} on the attributes, and has to be \{"email":.* Lost: Every message for email: SNS drops/,
  },
  {
    fault: "another channel's filter",
    cause: (place) => setFilter(place, '{"sms":[{"exists":true}]}'),
    says: /Lost: Messages for email with the attributes email, email \+ traceparent: .*And the queue also gets messages with the attributes sms, sms \+ traceparent, which/,
  },
  {
    fault: 'a filter for messages of both channels only',
    cause: (place) => setFilter(place, '{"email":[{"exists":true}],"sms":["1"]}'),
    says: /Lost: Messages for email with the attributes email, email \+ traceparent: SNS drops them without a trace, and they count as published\.$/,
  },
  {
    fault: 'a filter that keeps nothing of today out or in',
    cause: (place) => setFilter(place, '{"email":["1"]}'),
    says: /^subscription -email: The filter policy is .* Lost: Nothing: the messages of today go where they should/,
  },
  {
    fault: 'no filter',
    cause: (place) => setFilter(place, ''),
    says: /The filter policy is not set, and has to be .* Lost: Nothing; but the queue also gets messages with the attributes sms/,
  },
  {
    fault: 'a filter with conditions of another kind',
    cause: (place) => setFilter(place, '{"email":[{"prefix":"2"}]}'),
    says: /^subscription -email: The filter policy is .*prefix.* Lost: That cannot be told/,
  },
  {
    fault: 'a filter on the body',
    cause: ({ name, topicArn }) => setSubscription(topicArn, `${name}-email`, 'FilterPolicyScope', 'MessageBody'),
    says: /The filter policy is .* on the body, and has to be .* on the attributes\. Lost: Every message for email/,
  },
  {
    fault: 'wrapped delivery',
    cause: ({ name, topicArn }) => setSubscription(topicArn, `${name}-email`, 'RawMessageDelivery', 'false'),
    says: /^subscription -email: RawMessageDelivery is false, and has to be true\. Lost: Every message for email: senders get an envelope/,
  },
  {
    fault: 'a subscription without dead-letter queue',
    cause: ({ name, topicArn }) => setSubscription(topicArn, `${name}-email`, 'RedrivePolicy', ''),
    says: /^subscription -email: RedrivePolicy is not set, .* Lost: What the queue refuses, at once and without a trace/,
  },
  {
    fault: 'a queue policy for another topic',
    cause: async (place) => setQueue(place.queueUrls.email, { Policy: await otherTopicPolicy(place) }),
    says: /^queue -email: The policy lets others \(.*-of-somebody-else.*\) send, and not the topic .* Lost: Every message for email/,
  },
  {
    fault: 'a queue without policy',
    cause: ({ queueUrls }) => setQueue(queueUrls.email, { Policy: '' }),
    says: /^queue -email: The policy lets nobody send, and not the topic .* Lost: Every message for email/,
  },
  {
    fault: 'a queue policy that allows the clear',
    cause: async ({ name, queueUrls }) => {
      const policy = JSON.parse((await readQueue(`${name}-email`))?.['Policy'] ?? '');
      const Statement = policy.Statement.slice(0, 1);
      await setQueue(queueUrls.email, { Policy: JSON.stringify({ ...policy, Statement }) });
    },
    says: /^queue -email: The policy lets the topic send, but .* Lost: Nothing, unless/,
  },
  {
    fault: 'a queue policy that names the topic in another way',
    cause: ({ topicArn, queueUrls }) => {
      const Condition = { ArnLike: { 'aws:SourceArn': topicArn } };
      const Statement = { Effect: 'Allow', Principal: '*', Action: 'sqs:*', Resource: '*', Condition };
      return setQueue(queueUrls.email, { Policy: JSON.stringify({ Version: '2012-10-17', Statement }) });
    },
    says: /^queue -email: The policy has \{.*ArnLike.*\}, which is not how .* Lost: Every message for email .*, unless that lets it/,
  },
  {
    fault: 'a dead-letter queue whose policy is for another topic',
    cause: async (place) => setQueue(`${place.queueUrls.email}-dlq`, { Policy: await otherTopicPolicy(place) }),
    says: /^dead-letter queue -email-dlq: The policy lets others .* Lost: Every message for email that SNS would put here is refused/,
  },
  {
    fault: 'a queue without dead-letter queue',
    cause: ({ queueUrls }) => setQueue(queueUrls.email, { RedrivePolicy: '' }),
    says: /^queue -email: RedrivePolicy is not set, .* Lost: What senders cannot send by email comes back until it is too old/,
  },
  {
    fault: "another channel's dead-letter queue",
    cause: async ({ name, queueUrls }) =>
      setQueue(queueUrls.email, { RedrivePolicy: (await readQueue(`${name}-sms`))?.['RedrivePolicy'] ?? '' }),
    says: /^queue -email: RedrivePolicy is .*-sms-dlq.* Lost: What senders cannot send by email goes where nobody looks/,
  },
  {
    fault: 'a queue that gives up early',
    cause: async ({ name, queueUrls }) => {
      const redrive = JSON.parse((await readQueue(`${name}-email`))?.['RedrivePolicy'] ?? '');
      await setQueue(queueUrls.email, { RedrivePolicy: JSON.stringify({ ...redrive, maxReceiveCount: 1 }) });
    },
    says: /^queue -email: RedrivePolicy is .* Lost: Nothing; but a message leaves for the dead-letter queue after 1 receives/,
  },
  {
    fault: 'a short retention',
    cause: ({ queueUrls }) => setQueue(queueUrls.email, { MessageRetentionPeriod: '60' }),
    says: /^queue -email: MessageRetentionPeriod is 60, .* Lost: Messages that nobody has dealt with 60 seconds after/,
  },
  {
    fault: 'short polling',
    cause: ({ queueUrls }) => setQueue(queueUrls.email, { ReceiveMessageWaitTimeSeconds: '0' }),
    says: /^queue -email: ReceiveMessageWaitTimeSeconds is 0, and has to be 20\. Lost: Nothing; but senders/,
  },
  {
    fault: 'a dead-letter queue that its queue may not use',
    cause: async ({ name, queueUrls }) => {
      const { QueueArn: _, ...attributes } = (await readQueue(`${name}-email-dlq`)) ?? {};
      await deleteQueue(`${queueUrls.email}-dlq`);
      // The emulator takes this attribute of a new queue only.
      const Attributes = { ...attributes, RedriveAllowPolicy: '{"redrivePermission":"denyAll"}' };
      await sqs.send(new CreateQueueCommand({ QueueName: `${name}-email-dlq`, Attributes }));
    },
    says: /^dead-letter queue -email-dlq: RedriveAllowPolicy is .* Lost: What senders cannot send by email: SQS may refuse/,
  },
];

describe('diagnosing a topology', () => {
  it('finds no fault with one that was just provisioned', async () => {
    const { name, topicArn, queueUrls } = await provisionAnew();

    const diagnosis = await diagnose(name, { publishesTo: topicArn });

    expect(diagnosis).toMatchObject({ topicArn, queueUrls });
    expect(diagnosis.findings.map(({ thing, faults }) => [thing, faults])).toEqual(
      ['messages', 'topic', ...Array(2).fill(['dead-letter queue', 'queue', 'subscription']).flat()].map((thing) => [
        thing,
        [],
      ]),
    );
  });

  it.each(single)('says what is lost, and nothing else, by $fault', async ({ cause, says }) => {
    const place = await provisionAnew();
    await cause(place);

    const { findings } = await diagnose(place.name);

    expect(listFaults(findings, place)).toEqual([expect.stringMatching(says)]);
  });

  it('names every fault of several', async () => {
    const place = await provisionAnew();
    const { name, topicArn, queueUrls } = place;
    await deleteQueue(`${queueUrls.email}-dlq`);
    await setQueue(queueUrls.email, { Policy: await otherTopicPolicy(place), MessageRetentionPeriod: '60' });
    await setSubscription(topicArn, `${name}-email`, 'RawMessageDelivery', 'false');
    await setFilter(place, '{"e-mail":[{"exists":true}]}');
    await unsubscribe(place, 'sms');

    const { findings } = await diagnose(name);

    const faults = listFaults(findings, place);
    expect(faults).toEqual([
      expect.stringMatching(/^dead-letter queue -email-dlq: .* is missing/),
      expect.stringMatching(/^queue -email: MessageRetentionPeriod/),
      expect.stringMatching(/^queue -email: The policy lets others/),
      expect.stringMatching(/^subscription -email: The filter policy/),
      expect.stringMatching(/^subscription -email: RawMessageDelivery/),
      expect.stringMatching(/^subscription -sms: .* is missing/),
    ]);
  });

  it('says of a missing topic that notifications wait, and judges the queues all the same', async () => {
    const place = await provisionAnew();
    await sns.send(new DeleteTopicCommand({ TopicArn: place.topicArn }));
    await deleteQueue(place.queueUrls.sms);

    const diagnosis = await diagnose(place.name);

    expect(diagnosis).toMatchObject({ topicArn: null, queueUrls: { email: place.queueUrls.email, sms: null } });
    expect(listFaults(diagnosis.findings, place)).toEqual([
      expect.stringMatching(/^topic : The topic is missing\. Lost: Nothing yet: .* wait in the database/),
      expect.stringMatching(/^queue -sms: The queue is missing/),
    ]);
  });

  it('finds everything missing before the first provisioning', async () => {
    const { findings } = await diagnose(createName());

    const things = findings.filter(({ faults }) => faults.length === 1).map(({ thing }) => thing);
    expect(things).toEqual(['topic', 'dead-letter queue', 'queue', 'dead-letter queue', 'queue']);
  });

  it('says that the service publishes to a topic that feeds no queue', async () => {
    const place = await provisionAnew();
    const other = await provisionAnew();

    const { findings } = await diagnose(place.name, { publishesTo: other.topicArn });

    expect(listFaults(findings, place)).toEqual([
      expect.stringMatching(
        /^topic : SNS_TOPIC_ARN is .*, and the queues are subscribed to .* Lost: Every message, if/,
      ),
    ]);
  });

  it('says that topic and queues are not encrypted with the key', async () => {
    const place = await provisionAnew();

    const { findings } = await diagnose(place.name, { kmsKeyId: 'alias/notifications' });

    const faults = listFaults(findings, place);
    expect(faults).toHaveLength(5);
    for (const fault of faults)
      expect(fault).toMatch(/KmsMasterKeyId is not set, and has to be alias\/notifications\. Lost: Nothing/);
  });
});

describe('diagnosing what is published', () => {
  it('finds a message of more than 10 attributes, which raw delivery discards', async () => {
    const place = await provisionAnew();

    const { findings } = await diagnose(place.name, { kinds: [...listMessageKinds(), kindWith(11), kindWith(10)] });

    expect(listFaults(findings, place)).toEqual([
      expect.stringMatching(
        /^messages as published: A message may have 11 attributes \(email, a0, .*\); .* 10 at most\. Lost: Messages for email with more than 10: SNS discards them/,
      ),
    ]);
  });

  it('has nothing against 10', async () => {
    const place = await provisionAnew();

    const { findings } = await diagnose(place.name, { kinds: [...listMessageKinds(), kindWith(10)] });

    expect(listFaults(findings, place)).toEqual([]);
  });

  it('finds a marker that no filter waits for, though the topology is as provisioned', async () => {
    const place = await provisionAnew();
    const renamed: MessageKind[] = [
      { channels: ['email'], attributes: { mail: '1' } },
      { channels: ['sms'], attributes: { sms: '1' } },
    ];

    const { findings } = await diagnose(place.name, { kinds: renamed });

    expect(listFaults(findings, place)).toEqual([
      expect.stringMatching(
        /^subscription -email: The filter policy is .*, and does not fit what is published\. Lost: Every message for email/,
      ),
    ]);
  });
});
