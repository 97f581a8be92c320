import type { Channel } from '../channels.ts';
import type { Attributes } from './reconcile.ts';

/** The longest that SQS keeps a message, 14 days in seconds: senders may be down over a long holiday. */
const RETENTION_SECONDS = 1_209_600;
/** The longest a receive may wait for a message: fewest empty answers, and empty answers cost like full ones. */
const RECEIVE_WAIT_SECONDS = 20;
/** How often senders may try a message before it goes to the dead-letter queue. */
export const RECEIVES_MAX = 5;

/** What the queue of a channel should be like. */
export function queueAttributes(arn: string, topicArn: string, deadLetterArn: string): Attributes {
  return {
    ReceiveMessageWaitTimeSeconds: String(RECEIVE_WAIT_SECONDS),
    MessageRetentionPeriod: String(RETENTION_SECONDS),
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: deadLetterArn, maxReceiveCount: RECEIVES_MAX }),
    Policy: queuePolicy(arn, topicArn),
  };
}

/**
 * What the dead-letter queue of a channel should be like. It serves its queue and the queue's subscription: SNS sends here,
 * without further tries, what the queue refuses. A message keeps its age when it moves, hence no shorter retention.
 */
export function deadLetterQueueAttributes(arn: string, topicArn: string, sourceArn: string): Attributes {
  return {
    MessageRetentionPeriod: String(RETENTION_SECONDS),
    RedriveAllowPolicy: JSON.stringify({ redrivePermission: 'byQueue', sourceQueueArns: [sourceArn] }),
    Policy: queuePolicy(arn, topicArn),
  };
}

/**
 * How a queue is encrypted at rest: with the key when there is one, otherwise with the keys that SQS owns. A key that is set
 * on the queue stays when none is given: a variable left out by mistake must not weaken anything.
 */
export function queueEncryption(kmsKeyId: string | undefined, present: Attributes): Attributes {
  if (kmsKeyId !== undefined) return { KmsMasterKeyId: kmsKeyId };
  return present['KmsMasterKeyId'] ? {} : { SqsManagedSseEnabled: 'true' };
}

/**
 * What the subscription of a channel should be like. The order is the order of correction: SNS validates the policy under
 * the scope in force, and this policy is valid under both.
 */
export function subscriptionAttributes(channel: Channel, deadLetterArn: string): Attributes {
  return {
    FilterPolicy: JSON.stringify({ [channel]: [{ exists: true }] }),
    FilterPolicyScope: 'MessageAttributes',
    RawMessageDelivery: 'true',
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: deadLetterArn }),
  };
}

/** The ARN of another resource in the partition, region and account of `arn`. */
export function siblingArn(arn: string, service: 'sns' | 'sqs', name: string): string {
  const [prefix, partition, , region, account] = arn.split(':');
  return [prefix, partition, service, region, account, name].join(':');
}

/** Only this topic may send, and nobody may do anything in the clear. Roles of this account read by their own IAM policies. */
function queuePolicy(queueArn: string, topicArn: string): string {
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Sid: 'TopicMaySend',
        Effect: 'Allow',
        Principal: { Service: 'sns.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queueArn,
        Condition: { ArnEquals: { 'aws:SourceArn': topicArn } },
      },
      {
        Sid: 'NothingWithoutTls',
        Effect: 'Deny',
        Principal: '*',
        Action: 'sqs:*',
        Resource: queueArn,
        Condition: { Bool: { 'aws:SecureTransport': 'false' } },
      },
    ],
  });
}
