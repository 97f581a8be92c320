import {
  CreateTopicCommand,
  GetTopicAttributesCommand,
  paginateListTopics,
  SetTopicAttributesCommand,
  type SNSClient,
} from '@aws-sdk/client-sns';
import type { Attributes, Resource } from './reconcile.ts';

type Topic = { arn: string; attributes: Attributes };

/** The standard topic `name`, encrypted with the KMS key when one is given. A key that is set stays when none is given. */
export function describeTopic(sns: SNSClient, name: string, kmsKeyId: string | undefined): Resource<Topic> {
  return {
    thing: 'topic',
    name,
    find: () => findTopic(sns, name),
    wanted: () => topicAttributes(kmsKeyId),
    change: async ({ arn }, attributes) => {
      for (const [AttributeName, AttributeValue] of Object.entries(attributes))
        await sns.send(new SetTopicAttributesCommand({ TopicArn: arn, AttributeName, AttributeValue }));
    },
  };
}

/** Creates the topic. */
export async function createTopic(sns: SNSClient, name: string, kmsKeyId: string | undefined): Promise<Topic> {
  const attributes = topicAttributes(kmsKeyId);
  const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: name, Attributes: attributes }));
  if (TopicArn === undefined) throw new Error(`SNS created the topic ${name} and did not tell its ARN`);
  return { arn: TopicArn, attributes };
}

/** By name, because nothing else tells the account's id without another service. */
async function findTopic(sns: SNSClient, name: string): Promise<Topic | null> {
  for await (const { Topics = [] } of paginateListTopics({ client: sns, stopOnSameToken: true }, {})) {
    const arn = Topics.find(({ TopicArn }) => TopicArn?.endsWith(`:${name}`))?.TopicArn;
    if (arn === undefined) continue;
    const { Attributes = {} } = await sns.send(new GetTopicAttributesCommand({ TopicArn: arn }));
    return { arn, attributes: Attributes };
  }
  return null;
}

function topicAttributes(kmsKeyId: string | undefined): Attributes {
  return kmsKeyId === undefined ? {} : { KmsMasterKeyId: kmsKeyId };
}
