import { PublishBatchCommand } from '@aws-sdk/client-sns';
import { CHANNELS } from '../../docs/consumer/message.ts';
import { createClients } from '../../src/topology/clients.ts';
import { provisionTopology } from '../../src/topology/provision.ts';
import { countMessages, createConsumerDatabase, readEffects, startConsumer } from '../support/consumer.ts';
import type { SinkEntry } from '../support/sink.ts';
import type { Expected } from './checker.ts';
import { type Rig, until } from './rig.ts';

/** The queues behind SNS, with the reference consumer at each of them. */
export type Consumption = {
  /** Publishes what SNS has accepted to the topic of an emulator, which fans it out by its filter policies. */
  forward: (entries: SinkEntry[]) => Promise<void>;
  /** Waits until the queues are empty. Each effect as `listEffects` has it, and as often as it was done. */
  finish: () => Promise<string[]>;
};

/** Far more than a message is in anybody's hand, so that none comes again because it takes long here. */
const VISIBILITY_SECONDS = 30;
/** For a hundred thousand transactions, and as many messages in an emulator. */
const DRAIN_TIMEOUT_MS = 300_000;

/** Provisions a topology of the row's own, and starts a consumer at each channel's queue. They end with the test. */
export async function startConsumption(rig: Rig): Promise<Consumption> {
  const { sns, sqs } = createClients();
  const { topicArn, queueUrls } = await provisionTopology({ sns, sqs, name: `faults-${process.pid}` });
  const database = await createConsumerDatabase();
  const pool = database.openPool();
  for (const channel of CHANNELS) {
    startConsumer({ queueUrl: queueUrls[channel], channel, pool, visibilitySeconds: VISIBILITY_SECONDS });
  }
  const areEmpty = async () => {
    const counts = await Promise.all(CHANNELS.map((channel) => countMessages(sqs, queueUrls[channel])));
    return counts.every(({ waiting, inHand }) => waiting + inHand === 0);
  };
  return {
    forward: async (entries) => {
      const PublishBatchRequestEntries = entries.map(({ id, body, attributes }) => ({
        ...{ Id: id, Message: body, MessageAttributes: mark(attributes) },
      }));
      const { Failed } = await sns.send(new PublishBatchCommand({ TopicArn: topicArn, PublishBatchRequestEntries }));
      if (Failed && Failed.length > 0) throw new Error('The emulator failed messages.');
    },
    finish: async () => {
      await until(rig, 'the queues to be empty', DRAIN_TIMEOUT_MS, areEmpty);
      return (await readEffects(pool)).map(({ dedup_key, address }) => `${dedup_key}=${address}`);
    },
  };
}

const mark = (attributes: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(attributes).map(([name, StringValue]) => [name, { DataType: 'String', StringValue }]),
  );

/** What consumers have to do, once each: `id/user/channel=address`. */
export const listEffects = (expected: Expected): string[] =>
  [...expected].flatMap(([key, told]) => told.split(' ').map((address) => `${key}/${address}`));
