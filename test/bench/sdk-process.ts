/** The yardstick of publishing: a bare loop of `PublishBatch`, with the AWS SDK alone. */

import { PublishBatchCommand, SNSClient } from '@aws-sdk/client-sns';
import { answerCalls } from './child.ts';
import { createMeter } from './meter.ts';
import type { Batch } from './sink.ts';

const TOPIC_ARN = 'arn:aws:sns:us-east-1:000000000000:notifications';

/** What it published, and what that took. */
export type SdkRun = { messages: number; seconds: number; cpuSeconds: number };

const meter = createMeter();
let client: SNSClient | undefined;

const handlers = {
  /** Publishes the same batches again and again until there were so many messages, so many calls at a time. */
  async publish(batches: Batch[], messages: number, concurrency: number): Promise<SdkRun> {
    client ??= connect(concurrency);
    const sns = client;
    let [next, sent] = [0, 0];
    const loop = async () => {
      while (sent < messages) {
        const entries = batches[next++ % batches.length] ?? [];
        sent += entries.length;
        const reply = await sns.send(
          new PublishBatchCommand({ TopicArn: TOPIC_ARN, PublishBatchRequestEntries: entries }),
        );
        if (reply.Successful?.length !== entries.length) throw new Error('The sink has not taken a whole batch.');
      }
    };
    meter.reset();
    const begin = performance.now();
    await Promise.all(Array.from({ length: concurrency }, loop));
    return { messages: sent, seconds: (performance.now() - begin) / 1_000, cpuSeconds: meter.read().cpuSeconds };
  },
  /** Publishes single messages, one after the other. Returns what each took, in ms. */
  async publishSingly(batch: Batch, messages: number): Promise<number[]> {
    client ??= connect(1);
    const latencies: number[] = [];
    for (let sent = 0; sent < messages; sent++) {
      const begin = performance.now();
      await client.send(
        new PublishBatchCommand({ TopicArn: TOPIC_ARN, PublishBatchRequestEntries: batch.slice(0, 1) }),
      );
      latencies.push(performance.now() - begin);
    }
    return latencies;
  },
};
export type SdkHandlers = typeof handlers;

answerCalls(handlers);

/** Set like the service's own, so that it is no worse: cached middleware, and a connection for each call. */
function connect(concurrency: number): SNSClient {
  const agent = { maxSockets: concurrency + 1 };
  return new SNSClient({ maxAttempts: 1, cacheMiddleware: true, requestHandler: { httpAgent: agent } });
}
