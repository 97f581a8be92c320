import {
  DeleteQueueCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
} from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { composeCanary, readCanary } from '../src/notifications/canary.ts';
import { messageSchema } from '../src/notifications/message.ts';
import { sendCanaries } from '../src/topology/canary.ts';
import { createClients } from '../src/topology/clients.ts';
import { range } from './support/dispatch.ts';
import { countMessages } from './support/queues.ts';
import { provisionAnew, setSubscription, unsubscribe } from './support/topology.ts';

const clients = createClients();
const { sqs } = clients;

/** Puts messages of somebody else into a queue. */
const fill = async (QueueUrl: string, bodies: string[]) => {
  for (let sent = 0; sent < bodies.length; sent += 10) {
    const Entries = bodies.slice(sent, sent + 10).map((MessageBody, index) => ({ Id: String(index), MessageBody }));
    await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
  }
};

/** Receives up to ten messages: their bodies, and how often they were received before. */
async function receive(QueueUrl: string) {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({
      ...{ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 },
      MessageSystemAttributeNames: ['ApproximateReceiveCount'],
    }),
  );
  return Messages.map(({ Body = '', Attributes }) => ({
    ...{ body: Body, receives: Number(Attributes?.['ApproximateReceiveCount']) - 1 },
  }));
}

const NOTHING = { waiting: 0, inHand: 0 };

describe('a canary', () => {
  it('arrives on the path of every channel and is gone afterwards', async () => {
    const place = await provisionAnew();

    const findings = await sendCanaries(clients, place);

    expect(findings).toEqual([
      { thing: 'canary', name: 'email', faults: [] },
      { thing: 'canary', name: 'sms', faults: [] },
    ]);
    for (const url of Object.values(place.queueUrls)) expect(await countMessages(url)).toEqual(NOTHING);
  });

  it('is no message that tells somebody', () => {
    const { body, attributes } = composeCanary('email', 'canary/1');

    expect(attributes).toEqual({ email: '1', canary: '1' });
    expect(messageSchema.safeParse(JSON.parse(body)).success).toBe(false);
    expect(readCanary(body)).toMatchObject({ canary: { id: 'canary/1', data: { channel: 'email' } }, wrapped: false });
  });

  it('leaves the messages it meets in the queue, at once and untouched', async () => {
    const place = await provisionAnew();
    const bodies = range(1, 5).map((number) => `message ${number}`);
    await fill(place.queueUrls.email, bodies);

    const findings = await sendCanaries(clients, place);

    expect(findings.flatMap(({ faults }) => faults)).toEqual([]);
    expect(await countMessages(place.queueUrls.email)).toEqual({ waiting: 5, inHand: 0 });
    const left = await receive(place.queueUrls.email);
    expect(left.map(({ body }) => body).toSorted()).toEqual(bodies);
    expect(Math.max(...left.map(({ receives }) => receives))).toBeLessThanOrEqual(3);
  });

  it('is looked for no further once a message was received three times, as two receives are its sender’s', async () => {
    const place = await provisionAnew();
    await unsubscribe(place, 'email');
    await fill(place.queueUrls.email, ['stuck']);

    const [email, sms] = await sendCanaries(clients, place);

    expect(email?.faults).toEqual([
      {
        what: 'A message that waits in the queue was received 3 times, so the search was given up.',
        lost: expect.stringMatching(/cannot be told/),
      },
    ]);
    expect(sms?.faults).toEqual([]);
    expect(await receive(place.queueUrls.email)).toEqual([{ body: 'stuck', receives: 3 }]);
  });

  it('is not sent into a queue where many messages wait', async () => {
    const place = await provisionAnew();
    await fill(
      place.queueUrls.sms,
      range(1, 101).map((number) => `message ${number}`),
    );

    const [email, sms] = await sendCanaries(clients, place);

    expect(email?.faults).toEqual([]);
    expect(sms?.faults).toMatchObject([{ what: '101 messages wait in the queue, so no canary was sent.' }]);
    expect(await countMessages(place.queueUrls.sms)).toEqual({ waiting: 101, inHand: 0 });
    expect((await receive(place.queueUrls.sms)).map(({ receives }) => receives)).toEqual(Array(10).fill(0));
  });

  it('that an earlier run left behind is removed', async () => {
    const place = await provisionAnew();
    const { body } = composeCanary('email', 'canary/earlier');
    await sqs.send(new SendMessageCommand({ QueueUrl: place.queueUrls.email, MessageBody: body }));

    const findings = await sendCanaries(clients, place);

    expect(findings.flatMap(({ faults }) => faults)).toEqual([]);
    expect(await countMessages(place.queueUrls.email)).toEqual(NOTHING);
  });

  it('that arrives in an envelope is a fault, and is removed', async () => {
    const place = await provisionAnew();
    await setSubscription(place.topicArn, `${place.name}-email`, 'RawMessageDelivery', 'false');

    const [email, sms] = await sendCanaries(clients, place);

    expect(email?.faults).toMatchObject([{ what: 'The canary arrived in an envelope of SNS.' }]);
    expect(sms?.faults).toEqual([]);
    expect(await countMessages(place.queueUrls.email)).toEqual(NOTHING);
  });

  it('that is let in by a queue of another channel is a fault, and is removed there', async () => {
    const place = await provisionAnew();
    await setSubscription(place.topicArn, `${place.name}-email`, 'FilterPolicy', '');

    const [email, sms] = await sendCanaries(clients, place);

    expect(email?.faults).toEqual([
      { what: 'A canary for sms arrived in the queue of email.', lost: expect.stringMatching(/^Nothing by that; but/) },
    ]);
    expect(sms?.faults).toEqual([]);
    expect(await countMessages(place.queueUrls.email)).toEqual(NOTHING);
  });

  it('that does not arrive is a fault of its path, after three tries', async () => {
    const place = await provisionAnew();
    await unsubscribe(place, 'email');

    const [email, sms] = await sendCanaries(clients, place);

    expect(email?.faults).toEqual([
      {
        what: '3 canaries were sent, and none arrived within 4 s.',
        lost: expect.stringMatching(/^Every message for email; unless a sender that runs took the canaries/),
      },
    ]);
    expect(sms?.faults).toEqual([]);
  });

  it('that does not arrive is followed by another one, as a sender may have taken it', async () => {
    const place = await provisionAnew();
    const ours = createClients();
    let taken = 0;
    ours.sns.middlewareStack.add(
      (next) => (args) => {
        if (taken > 0 || !JSON.stringify(args.input).includes('"email"')) return next(args);
        taken += 1;
        return Promise.resolve({ output: { MessageId: 'taken' }, response: {} } as never);
      },
      { step: 'initialize' },
    );

    const findings = await sendCanaries(ours, place);

    expect(taken).toBe(1);
    expect(findings.flatMap(({ faults }) => faults)).toEqual([]);
  });

  it('is not sent where there is no queue', async () => {
    const place = await provisionAnew();
    await sqs.send(new DeleteQueueCommand({ QueueUrl: place.queueUrls.email }));

    const [email, sms] = await sendCanaries(clients, { ...place, queueUrls: { ...place.queueUrls, email: null } });

    expect(email?.faults).toMatchObject([{ what: 'No canary was sent, as the topic or the queue is missing.' }]);
    expect(sms?.faults).toEqual([]);
  });
});
