import { DeleteTopicCommand, GetTopicAttributesCommand, PublishCommand, SubscribeCommand } from '@aws-sdk/client-sns';
import { DeleteQueueCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { createClients } from '../src/topology/clients.ts';
import { checkTopology, provisionTopology } from '../src/topology/provision.ts';
import type { Step } from '../src/topology/reconcile.ts';
import {
  createName,
  otherTopicPolicy,
  type Place,
  provisionAnew,
  readQueue,
  readSubscriptions,
  setQueue,
  setSubscription,
  unsubscribe,
} from './support/topology.ts';

const { sns, sqs } = createClients();

/** Everything that provisioning could have changed. */
async function readEverything(name: string, topicArn: string) {
  const topic = await sns.send(new GetTopicAttributesCommand({ TopicArn: topicArn })).catch(() => null);
  const names = ['email', 'sms'].flatMap((channel) => [`${name}-${channel}`, `${name}-${channel}-dlq`]);
  return {
    topic: topic?.Attributes,
    queues: await Promise.all(names.map(readQueue)),
    subscriptions: await readSubscriptions(topicArn),
  };
}

async function receiveBodies(QueueUrl: string): Promise<(string | undefined)[]> {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 }),
  );
  return Messages.map(({ Body }) => Body);
}

const publish = (TopicArn: string, Message: string, channels: string[]) => {
  const marker = { DataType: 'String', StringValue: '1' };
  const MessageAttributes = Object.fromEntries(channels.map((channel) => [channel, marker]));
  return sns.send(new PublishCommand({ TopicArn, Message, MessageAttributes }));
};

const notUnchanged = (steps: Step[]) => steps.filter(({ outcome }) => outcome !== 'unchanged');

const parse = (text: string | undefined) => JSON.parse(text ?? 'null');

describe('provisioning the topology', () => {
  it('creates the topic, and a dead-letter queue, a queue and a subscription for each channel', async () => {
    const { name, topicArn, queueUrls, steps } = await provisionAnew();

    expect(topicArn).toMatch(new RegExp(`^arn:aws:sns:[^:]+:\\d{12}:${name}$`));
    expect(queueUrls.email).toMatch(new RegExp(`/${name}-email$`));
    expect(queueUrls.sms).toMatch(new RegExp(`/${name}-sms$`));
    expect(steps).toEqual([
      { thing: 'topic', name, outcome: 'created', attributes: [] },
      { thing: 'dead-letter queue', name: `${name}-email-dlq`, outcome: 'created', attributes: [] },
      { thing: 'queue', name: `${name}-email`, outcome: 'created', attributes: [] },
      { thing: 'subscription', name: `${name}-email`, outcome: 'created', attributes: [] },
      { thing: 'dead-letter queue', name: `${name}-sms-dlq`, outcome: 'created', attributes: [] },
      { thing: 'queue', name: `${name}-sms`, outcome: 'created', attributes: [] },
      { thing: 'subscription', name: `${name}-sms`, outcome: 'created', attributes: [] },
    ]);
  });

  it('lets a queue keep messages for 14 days, poll long, and hand over to its dead-letter queue after 5 receives', async () => {
    const { name } = await provisionAnew();

    const queue = await readQueue(`${name}-sms`);
    const deadLetterQueue = await readQueue(`${name}-sms-dlq`);

    expect(queue).toMatchObject({
      MessageRetentionPeriod: '1209600',
      ReceiveMessageWaitTimeSeconds: '20',
      SqsManagedSseEnabled: 'true',
    });
    expect(parse(queue?.['RedrivePolicy'])).toEqual({
      deadLetterTargetArn: deadLetterQueue?.['QueueArn'],
      maxReceiveCount: 5,
    });
    expect(deadLetterQueue).toMatchObject({ MessageRetentionPeriod: '1209600', SqsManagedSseEnabled: 'true' });
    expect(parse(deadLetterQueue?.['RedriveAllowPolicy'])).toEqual({
      redrivePermission: 'byQueue',
      sourceQueueArns: [queue?.['QueueArn']],
    });
  });

  it('lets only the topic send to a queue and its dead-letter queue, and nobody speak to them without TLS', async () => {
    const { name, topicArn } = await provisionAnew();

    for (const queueName of [`${name}-email`, `${name}-email-dlq`]) {
      const queue = await readQueue(queueName);
      const statements = parse(queue?.['Policy']).Statement;
      expect(statements).toHaveLength(2);
      expect(statements).toContainEqual({
        Sid: expect.any(String),
        Effect: 'Allow',
        Principal: { Service: 'sns.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queue?.['QueueArn'],
        Condition: { ArnEquals: { 'aws:SourceArn': topicArn } },
      });
      expect(statements).toContainEqual({
        Sid: expect.any(String),
        Effect: 'Deny',
        Principal: '*',
        Action: 'sqs:*',
        Resource: queue?.['QueueArn'],
        Condition: { Bool: { 'aws:SecureTransport': 'false' } },
      });
    }
  });

  it('subscribes each queue with raw delivery, its filter policy and its dead-letter queue', async () => {
    const { name, topicArn } = await provisionAnew();

    const subscription = (await readSubscriptions(topicArn))[`${name}-email`];
    const deadLetterQueue = await readQueue(`${name}-email-dlq`);

    expect(subscription).toMatchObject({
      Protocol: 'sqs',
      RawMessageDelivery: 'true',
      FilterPolicyScope: 'MessageAttributes',
    });
    expect(parse(subscription?.['FilterPolicy'])).toEqual({ email: [{ exists: true }] });
    expect(parse(subscription?.['RedrivePolicy'])).toEqual({ deadLetterTargetArn: deadLetterQueue?.['QueueArn'] });
  });

  it('changes nothing the second time', async () => {
    const { name, topicArn, queueUrls } = await provisionAnew();
    const before = await readEverything(name, topicArn);

    const second = await provisionTopology({ sns, sqs, name });

    expect(second).toMatchObject({ topicArn, queueUrls });
    expect(notUnchanged(second.steps)).toEqual([]);
    expect(await readEverything(name, topicArn)).toEqual(before);
  });

  it('encrypts topic and queues with the given key, and takes no key away when none is given', async () => {
    const { name, topicArn } = await provisionAnew();

    const { steps } = await provisionTopology({ sns, sqs, name, kmsKeyId: 'alias/notifications' });
    const check = await checkTopology({ sns, sqs, name });

    expect(notUnchanged(steps).map(({ thing, attributes }) => [thing, attributes])).toEqual([
      ['topic', ['KmsMasterKeyId']],
      ['dead-letter queue', ['KmsMasterKeyId']],
      ['queue', ['KmsMasterKeyId']],
      ['dead-letter queue', ['KmsMasterKeyId']],
      ['queue', ['KmsMasterKeyId']],
    ]);
    const { topic, queues } = await readEverything(name, topicArn);
    for (const thing of [topic, ...queues]) expect(thing?.['KmsMasterKeyId']).toBe('alias/notifications');
    expect(check.drifted).toBe(false);
  });

  it('creates everything encrypted when the key is given from the start', async () => {
    const name = createName();

    const { topicArn } = await provisionTopology({ sns, sqs, name, kmsKeyId: 'alias/notifications' });

    const { topic, queues } = await readEverything(name, topicArn);
    for (const thing of [topic, ...queues]) expect(thing?.['KmsMasterKeyId']).toBe('alias/notifications');
    expect((await checkTopology({ sns, sqs, name, kmsKeyId: 'alias/notifications' })).drifted).toBe(false);
  });

  it('waits for a dead-letter queue that SQS does not know yet', async () => {
    const clients = createClients();
    let refusals = 1;
    clients.sqs.middlewareStack.add(
      (next) => (args) => {
        if (JSON.stringify(args.input).includes('deadLetterTargetArn') && refusals-- > 0)
          throw new Error('Value for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.');
        return next(args);
      },
      { step: 'initialize' },
    );

    const { steps } = await provisionTopology({ ...clients, name: createName() });

    expect(refusals).toBeLessThan(0);
    expect(steps.every(({ outcome }) => outcome === 'created')).toBe(true);
  });

  it('leaves a subscription that is not its own alone', async () => {
    const { name, topicArn } = await provisionAnew();
    const other = await provisionAnew();
    const otherArn = (await readQueue(`${other.name}-email`))?.['QueueArn'];
    await sns.send(new SubscribeCommand({ TopicArn: topicArn, Protocol: 'sqs', Endpoint: otherArn }));
    const before = await readSubscriptions(topicArn);

    const { steps } = await provisionTopology({ sns, sqs, name });

    expect(notUnchanged(steps)).toEqual([]);
    expect(await readSubscriptions(topicArn)).toEqual(before);
  });
});

const drifts: { drift: string; cause: (place: Place) => Promise<unknown>; thing: string; attributes: string[] }[] = [
  {
    drift: 'a filter policy of another channel',
    cause: ({ name, topicArn }) =>
      setSubscription(topicArn, `${name}-email`, 'FilterPolicy', '{"sms":[{"exists":true}]}'),
    thing: 'subscription',
    attributes: ['FilterPolicy'],
  },
  {
    drift: 'a filter policy on the body',
    cause: ({ name, topicArn }) => setSubscription(topicArn, `${name}-email`, 'FilterPolicyScope', 'MessageBody'),
    thing: 'subscription',
    attributes: ['FilterPolicyScope'],
  },
  {
    drift: 'wrapped delivery',
    cause: ({ name, topicArn }) => setSubscription(topicArn, `${name}-email`, 'RawMessageDelivery', 'false'),
    thing: 'subscription',
    attributes: ['RawMessageDelivery'],
  },
  {
    drift: 'a subscription without dead-letter queue',
    cause: ({ name, topicArn }) => setSubscription(topicArn, `${name}-email`, 'RedrivePolicy', ''),
    thing: 'subscription',
    attributes: ['RedrivePolicy'],
  },
  {
    drift: 'a queue that gives up early',
    cause: async ({ name, queueUrls }) => {
      const redrive = parse((await readQueue(`${name}-email`))?.['RedrivePolicy']);
      await setQueue(queueUrls.email, { RedrivePolicy: JSON.stringify({ ...redrive, maxReceiveCount: 1 }) });
    },
    thing: 'queue',
    attributes: ['RedrivePolicy'],
  },
  {
    drift: 'a queue policy for another topic',
    cause: async (place) => setQueue(place.queueUrls.email, { Policy: await otherTopicPolicy(place) }),
    thing: 'queue',
    attributes: ['Policy'],
  },
  {
    drift: 'short polling and a short retention',
    cause: ({ queueUrls }) =>
      setQueue(queueUrls.email, { ReceiveMessageWaitTimeSeconds: '0', MessageRetentionPeriod: '60' }),
    thing: 'queue',
    attributes: ['ReceiveMessageWaitTimeSeconds', 'MessageRetentionPeriod'],
  },
  {
    drift: 'a dead-letter queue that forgets early',
    cause: ({ queueUrls }) => setQueue(`${queueUrls.email}-dlq`, { MessageRetentionPeriod: '60' }),
    thing: 'dead-letter queue',
    attributes: ['MessageRetentionPeriod'],
  },
];

const losses: { loss: string; cause: (place: Place) => Promise<unknown>; things: string[] }[] = [
  {
    loss: 'subscription',
    cause: (place) => unsubscribe(place, 'email'),
    things: ['subscription'],
  },
  {
    loss: 'queue',
    cause: ({ queueUrls }) => sqs.send(new DeleteQueueCommand({ QueueUrl: queueUrls.email })),
    things: ['queue'],
  },
  {
    loss: 'dead-letter queue',
    cause: ({ queueUrls }) => sqs.send(new DeleteQueueCommand({ QueueUrl: `${queueUrls.email}-dlq` })),
    things: ['dead-letter queue'],
  },
  {
    loss: 'topic',
    cause: ({ topicArn }) => sns.send(new DeleteTopicCommand({ TopicArn: topicArn })),
    things: ['topic', 'subscription', 'subscription'],
  },
];

describe('a topology that drifted', () => {
  it.each(drifts)('is reported and corrected: $drift', async ({ cause, thing, attributes }) => {
    const place = await provisionAnew();
    const { name, topicArn } = place;
    const intact = await readEverything(name, topicArn);
    await cause(place);
    const drifted = await readEverything(name, topicArn);

    const check = await checkTopology({ sns, sqs, name });
    const afterCheck = await readEverything(name, topicArn);
    const { steps } = await provisionTopology({ sns, sqs, name });
    const afterCorrection = await readEverything(name, topicArn);

    expect(drifted).not.toEqual(intact);
    expect(check.drifted).toBe(true);
    expect(notUnchanged(check.steps)).toMatchObject([{ thing, outcome: 'differs', attributes }]);
    expect(afterCheck).toEqual(drifted);
    expect(notUnchanged(steps)).toMatchObject([{ thing, outcome: 'corrected', attributes }]);
    expect(afterCorrection).toEqual(intact);
    expect((await checkTopology({ sns, sqs, name })).drifted).toBe(false);
  });

  it.each(losses)('is reported and restored: a missing $loss', async ({ cause, things }) => {
    const place = await provisionAnew();
    const { name, topicArn } = place;
    await cause(place);
    const drifted = await readEverything(name, topicArn);

    const check = await checkTopology({ sns, sqs, name });
    const afterCheck = await readEverything(name, topicArn);
    const { steps, queueUrls } = await provisionTopology({ sns, sqs, name });
    await publish(topicArn, 'still arrives', ['email']);

    expect(check.drifted).toBe(true);
    expect(notUnchanged(check.steps).map(({ thing, outcome }) => [thing, outcome])).toEqual(
      things.map((thing) => [thing, 'missing']),
    );
    expect(afterCheck).toEqual(drifted);
    expect(notUnchanged(steps).map(({ thing, outcome }) => [thing, outcome])).toEqual(
      things.map((thing) => [thing, 'created']),
    );
    expect((await checkTopology({ sns, sqs, name })).drifted).toBe(false);
    expect(await receiveBodies(queueUrls.email)).toEqual(['still arrives']);
  });

  it('is all missing before the first provisioning, and stays so after a check', async () => {
    const name = createName();

    const first = await checkTopology({ sns, sqs, name });
    const second = await checkTopology({ sns, sqs, name });

    expect(first).toMatchObject({ topicArn: null, queueUrls: { email: null, sms: null }, drifted: true });
    expect(first.steps.map(({ outcome }) => outcome)).toEqual(Array(7).fill('missing'));
    expect(second).toEqual(first);
  });
});

describe('a message published to the topic', () => {
  it.each([
    { channels: ['email'], inEmail: ['hello'], inSms: [] },
    { channels: ['sms'], inEmail: [], inSms: ['hello'] },
    { channels: ['email', 'sms'], inEmail: ['hello'], inSms: ['hello'] },
    { channels: [], inEmail: [], inSms: [] },
  ])('reaches the queues of its attributes only: $channels', async ({ channels, inEmail, inSms }) => {
    const { topicArn, queueUrls } = await provisionAnew();

    await publish(topicArn, 'hello', channels);

    expect(await receiveBodies(queueUrls.email)).toEqual(inEmail);
    expect(await receiveBodies(queueUrls.sms)).toEqual(inSms);
  });
});
