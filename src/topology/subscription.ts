import {
  GetSubscriptionAttributesCommand,
  paginateListSubscriptionsByTopic,
  SetSubscriptionAttributesCommand,
  type SNSClient,
  SubscribeCommand,
} from '@aws-sdk/client-sns';
import { siblingArn } from './policies.ts';
import type { Attributes, Resource } from './reconcile.ts';

type Subscription = { arn: string; attributes: Attributes };

/** The subscription of the queue `name`, in the account of the topic. Without a topic there is none. */
export function describeSubscription(
  sns: SNSClient,
  topicArn: string | null,
  description: Pick<Resource<Subscription>, 'name' | 'wanted'>,
): Resource<Subscription> {
  return {
    ...description,
    thing: 'subscription',
    find: async () => (topicArn === null ? null : findSubscription(sns, topicArn, description.name)),
    change: async ({ arn }, attributes) => {
      for (const [AttributeName, AttributeValue] of Object.entries(attributes))
        await sns.send(new SetSubscriptionAttributesCommand({ SubscriptionArn: arn, AttributeName, AttributeValue }));
    },
  };
}

/** Subscribes the queue with its filter in place from the start, so that no message of another channel slips in. */
export async function createSubscription(
  sns: SNSClient,
  subscription: Resource<Subscription>,
  topicArn: string,
  queueArn: string,
): Promise<Subscription> {
  const attributes = subscription.wanted(topicArn, {});
  const { SubscriptionArn } = await sns.send(
    new SubscribeCommand({
      TopicArn: topicArn,
      Protocol: 'sqs',
      Endpoint: queueArn,
      Attributes: attributes,
      ReturnSubscriptionArn: true,
    }),
  );
  if (SubscriptionArn === undefined) throw new Error(`SNS subscribed ${subscription.name} and did not tell the ARN`);
  return { arn: SubscriptionArn, attributes };
}

/** Other subscriptions of the topic are somebody else's and stay as they are. */
async function findSubscription(sns: SNSClient, topicArn: string, queueName: string): Promise<Subscription | null> {
  const queueArn = siblingArn(topicArn, 'sqs', queueName);
  const pages = paginateListSubscriptionsByTopic({ client: sns, stopOnSameToken: true }, { TopicArn: topicArn });
  for await (const { Subscriptions = [] } of pages) {
    const ours = Subscriptions.find(({ Protocol, Endpoint }) => Protocol === 'sqs' && Endpoint === queueArn);
    // A subscription removed a moment ago is still listed, with the word Deleted in the place of its ARN.
    if (!ours?.SubscriptionArn?.startsWith('arn:')) continue;
    const arn = ours.SubscriptionArn;
    const { Attributes = {} } = await sns.send(new GetSubscriptionAttributesCommand({ SubscriptionArn: arn }));
    return { arn, attributes: Attributes };
  }
  return null;
}
