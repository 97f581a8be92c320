import { z } from 'zod';
import { CHANNEL_NAMES, type Channel } from '../src/channels.ts';
import { composeMessages, messageSchema } from '../src/notifications/message.ts';
import type { ClaimedPage } from '../src/notifications/pages.ts';
import { queueAttributes, siblingArn, subscriptionAttributes } from '../src/topology/policies.ts';

/** As `npm run provision` names it; queues are named after it and their channel. */
const TOPIC = 'notifications';
const TOPIC_ARN = `arn:aws:sns:us-east-1:123456789012:${TOPIC}`;

const DESCRIPTION = `Every notification is published to one SNS topic. A message carries a marker attribute for each channel its
recipients are to be told on, and each channel's queue subscribes with a filter for its own marker.

Delivery is **at least once**: SNS, a retry or a process taking over from another may repeat a message, also under another
SNS MessageId and, when preferences have changed in between, with other recipients. Whoever sends must therefore remember
\`(notification_id, user_id, channel)\` and skip what it has done already. There is no order between messages.

A message that was received as often as its queue allows, and not deleted, moves to the dead-letter queue. Fields and
attributes may be added under the same \`type\`: ignore what you do not know. Any other change gets a new \`type\`.

A message with the attribute \`canary\`, of the type \`notification.canary.v1\`, only shows that a path is open: delete it, and
do nothing else.`;

/** The AsyncAPI document of what the service publishes, made from the schema and the code that make the messages. */
export function describeMessages(): object {
  return {
    asyncapi: '3.0.0',
    info: {
      ...{ title: 'Notification service: messages', version: '1.0.0', description: DESCRIPTION },
      license: { name: 'MIT' },
    },
    defaultContentType: 'application/json',
    channels: { [TOPIC]: describeTopic(), ...perChannel(describeQueue) },
    operations: { publishNotification: describePublish() },
    components: {
      messages: { NotificationDispatched: describeMessage() },
      schemas: { NotificationDispatched: bodySchema(), Attributes: attributesSchema() },
    },
  };
}

const MESSAGE = { NotificationDispatched: { $ref: '#/components/messages/NotificationDispatched' } };

const nameQueue = (channel: Channel) => `${TOPIC}-${channel}`;
const nameDeadLetterQueue = (channel: Channel) => `${TOPIC}-${channel}-dlq`;

function perChannel(describe: (channel: Channel) => object): object {
  return Object.fromEntries(CHANNEL_NAMES.map((channel) => [nameQueue(channel), describe(channel)]));
}

function describeTopic(): object {
  return {
    address: TOPIC,
    title: 'Topic',
    description: 'The SNS topic. Subscribe a queue of your own to follow every message.',
    messages: MESSAGE,
    bindings: { sns: { name: TOPIC, ordering: { type: 'standard' }, bindingVersion: '0.1.0' } },
  };
}

/** A channel's queue, in the words of the binding but with the figures that provisioning sets. */
function describeQueue(channel: Channel): object {
  const queueArn = siblingArn(TOPIC_ARN, 'sqs', nameQueue(channel));
  const attributes = queueAttributes(queueArn, TOPIC_ARN, siblingArn(TOPIC_ARN, 'sqs', nameDeadLetterQueue(channel)));
  const { maxReceiveCount } = JSON.parse(attributes['RedrivePolicy'] ?? '{}');
  const { FilterPolicy } = subscriptionAttributes(channel, '');
  return {
    address: nameQueue(channel),
    title: `Queue of the channel ${channel}`,
    description: `The SQS queue for whoever sends on the channel \`${channel}\`: it receives the messages that match \`${FilterPolicy}\`, their bodies as published (raw delivery). Tell each recipient by \`${channel}\`, and by no other channel named beside it: that one has a queue of its own.`,
    messages: MESSAGE,
    bindings: {
      sqs: {
        queue: {
          ...{ name: nameQueue(channel), fifoQueue: false },
          receiveMessageWaitTime: Number(attributes['ReceiveMessageWaitTimeSeconds']),
          messageRetentionPeriod: Number(attributes['MessageRetentionPeriod']),
          redrivePolicy: { deadLetterQueue: { name: nameDeadLetterQueue(channel) }, maxReceiveCount },
        },
        deadLetterQueue: { name: nameDeadLetterQueue(channel), fifoQueue: false },
        bindingVersion: '0.2.0',
      },
    },
  };
}

function describePublish(): object {
  const consumers = CHANNEL_NAMES.map((channel) => ({
    protocol: 'sqs',
    endpoint: { name: nameQueue(channel) },
    // The binding writes the one condition without the list that SNS wants around it.
    filterPolicy: { [channel]: { exists: true } },
    filterPolicyScope: 'MessageAttributes',
    rawMessageDelivery: true,
    redrivePolicy: { deadLetterQueue: { name: nameDeadLetterQueue(channel) } },
  }));
  return {
    action: 'send',
    channel: { $ref: `#/channels/${TOPIC}` },
    summary: 'Tell recipients of a notification',
    messages: [{ $ref: `#/channels/${TOPIC}/messages/NotificationDispatched` }],
    bindings: { sns: { topic: { name: TOPIC }, consumers, bindingVersion: '0.1.0' } },
  };
}

function describeMessage(): object {
  return {
    name: 'notification.dispatched.v1',
    title: 'Recipients of a notification to be told',
    summary: 'A CloudEvent (1.0, structured JSON) with one or more recipients.',
    description:
      'Dedup key: `(notification_id, user_id, channel)`. The SNS message group is the caller who sent the notification: SQS reads it as a fair queue and lets no caller starve another.',
    contentType: 'application/json',
    headers: { $ref: '#/components/schemas/Attributes' },
    payload: { $ref: '#/components/schemas/NotificationDispatched' },
    examples: [{ name: 'bothChannels', summary: 'One user, to be told on every channel.', ...composeExample() }],
  };
}

/** Draft 7 is what AsyncAPI 3.0 speaks. As an input, because then it does not forbid fields to come. */
function bodySchema(): object {
  const schema = z.toJSONSchema(messageSchema, {
    ...{ target: 'draft-7', io: 'input' },
    override: ({ jsonSchema }) => {
      // The formats say it in a word; their patterns fill lines.
      if (jsonSchema.format === 'date-time' || jsonSchema.format === 'uuid') delete jsonSchema.pattern;
    },
  });
  delete schema.$schema;
  return schema;
}

/** Attributes are markers and a trace. Addresses are in the body only, because SNS does not encrypt attributes. */
function attributesSchema(): object {
  const markers = CHANNEL_NAMES.map((channel) => [
    channel,
    { type: 'string', const: '1', description: `Present when the recipients are to be told by \`${channel}\`.` },
  ]);
  return {
    type: 'object',
    description: 'SNS message attributes, all of them of type String.',
    properties: {
      ...Object.fromEntries(markers),
      traceparent: {
        ...{ type: 'string', pattern: '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' },
        description: 'The trace (W3C Trace Context) of the request that was accepted. Present when it had one.',
      },
    },
    anyOf: CHANNEL_NAMES.map((channel) => ({ required: [channel] })),
  };
}

/** A message as the service composes it. */
function composeExample(): object {
  const [message] = composeMessages(EXAMPLE_PAGE, [{ user_id: 42, addresses: EXAMPLE_ADDRESSES }], 1);
  if (message === undefined) throw new Error('The example has no recipient on any channel.');
  return { headers: message.attributes, payload: JSON.parse(message.body) };
}

const EXAMPLE_ADDRESSES: Record<Channel, string> = { email: 'ada@example.com', sms: '+15550000042' };

const EXAMPLE_PAGE: ClaimedPage = {
  ...{ notification_id: '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55', number: 1, first_user_id: 42, last_user_id: 42 },
  ...{ attempt: 1, claimed_at: new Date('2026-01-05T08:30:00.004Z'), everyone: false, channels: [...CHANNEL_NAMES] },
  ...{ subject: null, payload: 'Your statement is ready', created_by: 'anonymous', retrying: null },
  withdrawn: null,
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
};
