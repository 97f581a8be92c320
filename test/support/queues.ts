import { DeleteMessageBatchCommand, GetQueueAttributesCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import type { z } from 'zod';
import { messageSchema } from '../../src/notifications/message.ts';
import { createClients } from '../../src/topology/clients.ts';

export type ReceivedMessage = {
  body: z.infer<typeof messageSchema>;
  attributes: Record<string, string>;
  messageId: string;
  groupId: string | undefined;
};

/** Takes every message out of a queue until it is empty. Each body is checked against the schema we publish. */
export async function drainQueue(queueUrl: string): Promise<ReceivedMessage[]> {
  const { sqs } = createClients();
  const received: ReceivedMessage[] = [];
  for (;;) {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        ...{ QueueUrl: queueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 },
        ...{ MessageAttributeNames: ['All'], MessageSystemAttributeNames: ['All'] },
      }),
    );
    if (Messages.length === 0) break;
    for (const { Body = '', MessageAttributes = {}, MessageId = '', Attributes = {} } of Messages) {
      const attributes = Object.entries(MessageAttributes).map(([name, { StringValue = '' }]) => [name, StringValue]);
      received.push({
        ...{ body: messageSchema.parse(JSON.parse(Body)), attributes: Object.fromEntries(attributes) },
        ...{ messageId: MessageId, groupId: Attributes['MessageGroupId'] },
      });
    }
    const Entries = Messages.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle }));
    await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
  }
  sqs.destroy();
  return received;
}

/** How many messages a queue holds, and how many of them a receiver has in hand. */
export async function countMessages(QueueUrl: string): Promise<{ waiting: number; inHand: number }> {
  const { sqs } = createClients();
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({
      QueueUrl,
      AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
    }),
  );
  sqs.destroy();
  return {
    waiting: Number(Attributes?.['ApproximateNumberOfMessages']),
    inHand: Number(Attributes?.['ApproximateNumberOfMessagesNotVisible']),
  };
}
