import { setTimeout as pause } from 'node:timers/promises';
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  type QueueAttributeName,
  QueueDoesNotExist,
  SetQueueAttributesCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import type { Attributes, Resource } from './reconcile.ts';

type Queue = { arn: string; url: string; attributes: Attributes };

/** Every attribute a queue is compared by, asked for by name: not every implementation counts all of them among `All`. */
const COMPARED: QueueAttributeName[] = [
  'QueueArn',
  'ReceiveMessageWaitTimeSeconds',
  'MessageRetentionPeriod',
  'RedrivePolicy',
  'RedriveAllowPolicy',
  'Policy',
  'KmsMasterKeyId',
  'SqsManagedSseEnabled',
];

/** SQS asks for a second before a new queue is used, so a new dead-letter queue may be unknown for that long; with reserve. */
const CREATE_ATTEMPTS = 10;
const CREATE_PAUSE_MS = 1_000;

/** A standard queue by name, with the attributes that `wanted` derives from its ARN and from what is set already. */
export function describeQueue(
  sqs: SQSClient,
  description: Pick<Resource<Queue>, 'thing' | 'name' | 'wanted'>,
): Resource<Queue> {
  return {
    ...description,
    find: () => findQueue(sqs, description.name),
    change: async ({ url }, Attributes) => {
      await sqs.send(new SetQueueAttributesCommand({ QueueUrl: url, Attributes }));
    },
  };
}

/** Creates the queue under the given ARN, complete from its first moment on. */
export async function createQueue(sqs: SQSClient, queue: Resource<Queue>, arn: string): Promise<Queue> {
  const attributes = queue.wanted(arn, {});
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: queue.name, Attributes: attributes }));
      if (QueueUrl === undefined) throw new Error(`SQS created the queue ${queue.name} and did not tell its URL`);
      return { arn, url: QueueUrl, attributes };
    } catch (error) {
      if (attempt === CREATE_ATTEMPTS || !isDeadLetterQueueUnknown(error)) throw error;
      await pause(CREATE_PAUSE_MS);
    }
  }
}

/** Looked up first, because CreateQueue refuses a name that exists with other attributes. */
async function findQueue(sqs: SQSClient, name: string): Promise<Queue | null> {
  try {
    const { QueueUrl: url } = await sqs.send(new GetQueueUrlCommand({ QueueName: name }));
    const { Attributes: attributes = {} } = await sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: COMPARED }),
    );
    const arn = attributes['QueueArn'];
    if (url === undefined || arn === undefined) throw new Error(`SQS did not tell the URL and the ARN of ${name}`);
    return { arn, url, attributes };
  } catch (error) {
    if (error instanceof QueueDoesNotExist) return null;
    throw error;
  }
}

/** SQS has no error code of its own for this. */
function isDeadLetterQueueUnknown(error: unknown): boolean {
  return error instanceof Error && /dead.?letter target does not exist/i.test(error.message);
}
