import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Pool } from 'pg';
import { onTestFinished } from 'vitest';
import { type ConsumerOptions, runConsumer } from '../../docs/consumer/consumer.ts';
import type { Deliver } from '../../docs/consumer/delivery.ts';
import { composeMessages } from '../../src/notifications/message.ts';
import type { Recipient } from '../../src/notifications/recipients.ts';
import { createClients } from '../../src/topology/clients.ts';
import { createTestDatabase } from './database.ts';

/** Receives until a message goes to the dead-letter queue. */
export const MAX_RECEIVES = 3;

const { sqs: shared } = createClients();

/** A queue and its dead-letter queue, of the caller's own. */
export async function createQueue(sqs = shared, name = `consumer-${randomUUID()}`) {
  const create = async (QueueName: string, Attributes: Record<string, string>) => {
    const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName, Attributes }));
    return QueueUrl;
  };
  const deadLetterUrl = await create(`${name}-dlq`, {});
  const deadLetterTargetArn = `arn:aws:sqs:us-east-1:000000000000:${name}-dlq`;
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn, maxReceiveCount: MAX_RECEIVES });
  const queueUrl = await create(name, { RedrivePolicy });
  return {
    name,
    queueUrl,
    send: async (...bodies: string[]) => {
      for (const MessageBody of bodies) await sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody }));
    },
    /** Messages waiting, and in somebody's hand. */
    count: () => countMessages(sqs, queueUrl),
    /** The bodies in the dead-letter queue, which it keeps. */
    readDeadLetters: async () => {
      const peek = { QueueUrl: deadLetterUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 0 };
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(peek));
      return Messages.map(({ Body = '' }) => Body);
    },
  };
}

/** Messages waiting, and in somebody’s hand. */
export async function countMessages(sqs: SQSClient, QueueUrl: string) {
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({
      QueueUrl,
      AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
    }),
  );
  return {
    waiting: Number(Attributes?.['ApproximateNumberOfMessages']),
    inHand: Number(Attributes?.['ApproximateNumberOfMessagesNotVisible']),
  };
}

/** A database with the consumer's tables, and one for effects that takes as many of a key as it is given. */
export async function createConsumerDatabase(): Promise<{ url: string; openPool: () => Pool }> {
  const url = await createTestDatabase('template0');
  const openPool = () => {
    const pool = new Pool({ connectionString: url, max: 25, connectionTimeoutMillis: 3_000, query_timeout: 10_000 });
    onTestFinished(() => pool.end());
    return pool;
  };
  const pool = new Pool({ connectionString: url });
  await pool.query(await readFile('docs/consumer/schema.sql', 'utf8'));
  await pool.query('create table effects (dedup_key text, address text)');
  await pool.end();
  return { url, openPool };
}

/** The effect of the tests: a row. */
export const deliverRow: Deliver = async ({ dedup_key, address }, _notification, { transaction }) => {
  await transaction.query('insert into effects values ($1, $2)', [dedup_key, address]);
};

/** What has been done, and committed, in the order of the keys. */
export async function readEffects(pool: Pool): Promise<{ dedup_key: string; address: string }[]> {
  const { rows } = await pool.query('select dedup_key, address from effects order by dedup_key, address');
  return rows;
}

/** A consumer that stops with its test, the calls it has made, and the lines it has logged. */
export function startConsumer(
  options: Pick<ConsumerOptions, 'queueUrl' | 'pool'> & Partial<ConsumerOptions> & { failCalls?: string },
) {
  const { failCalls, sqs = createClients().sqs, ...rest } = options;
  const calls: string[] = [];
  const received: string[] = [];
  const lines: string[] = [];
  sqs.middlewareStack.add(
    (next, { commandName = '' }) =>
      async (args) => {
        if (commandName === failCalls) throw new Error(`${commandName} never arrives`);
        const result = await next(args);
        calls.push(commandName.replace('Command', ''));
        const { Messages = [] } = result.output as { Messages?: { MessageId: string }[] };
        received.push(...Messages.map(({ MessageId }) => MessageId));
        return result;
      },
    { step: 'initialize' },
  );
  const { stop } = runConsumer({
    ...{ sqs, channel: 'email', deliver: deliverRow, visibilitySeconds: 1, waitSeconds: 1 },
    log: (text, ids) => lines.push(`${text} ${JSON.stringify(ids)}`),
    ...rest,
  });
  onTestFinished(stop);
  return { stop, calls, received, lines };
}

/** The body of a message as the service composes it, packed with users of these ids who have an address on both channels. */
export function composeBody(
  notification_id: string,
  user_ids: number[],
  channels: Recipient['addresses'] = BOTH,
): string {
  const recipients = user_ids.map((user_id) => ({ user_id, addresses: channels }));
  const page = {
    ...{ notification_id, claimed_at: new Date(), subject: null, payload: 'Your statement is ready' },
    ...{ created_by: 'key:billing', traceparent: null },
  };
  const [message, ...more] = composeMessages(page, recipients, user_ids.length);
  if (message === undefined || more.length > 0) throw new Error('This is not one message.');
  return message.body;
}

const BOTH = { email: 'ada@example.com', sms: '+15550000001' };

/** A gate that work waits at. */
export function createGate(): { pass: Promise<void>; open: () => void } {
  let open: () => void = () => undefined;
  const pass = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { pass, open };
}
