import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchContext } from './bench.ts';
import { INPUT, notify } from './broadcast.ts';
import { startChild } from './child.ts';
import { type Figure, judge, percentile } from './figures.ts';
import type { SdkHandlers } from './sdk-process.ts';
import { describeAws, startService } from './service.ts';
import { readBatches, type Sink } from './sink.ts';

const MESSAGES = 1_000;
const SHORT_MESSAGES = 100;
/** Sent before and not counted: code that runs for the first time is compiled. */
const WARM_UP_MESSAGES = 100;
/** Between two of them, so that each is alone. */
const PAUSE_MS = 5;
/** The kinds of users go round, and the first of each ten is told. */
const KINDS = 10;
const ARRIVE_TIMEOUT_MS = 30_000;

/** From before the POST for one user until SNS has the message, and the same of the SDK that publishes it at once. */
export async function benchLatency(context: BenchContext): Promise<Figure[]> {
  const { databases, sink, isShort, progress } = context;
  const count = isShort ? SHORT_MESSAGES : MESSAGES;
  const users = Math.min(context.users, (count + WARM_UP_MESSAGES) * KINDS);
  const database = await databases.open('mixed', users);
  await sink.call('reset', users);
  const service = await startService({ databaseUrl: database.url, sinkUrl: sink.url });
  const sdk = startChild<SdkHandlers>('sdk-process.js', { env: describeAws(sink.url) });
  const sentAt: { id: number; at: number }[] = [];
  for (let id = 1; id <= users && sentAt.length < count + WARM_UP_MESSAGES; id += KINDS) {
    sentAt.push({ id, at: performance.timeOrigin + performance.now() });
    await notify(service.url, { ...INPUT, user_ids: [id] });
    await sleep(PAUSE_MS);
    progress(sentAt.length / (count + WARM_UP_MESSAGES));
  }
  const arrivedAt = await waitForArrivals(sink, sentAt.length);
  const latencies = sentAt.slice(WARM_UP_MESSAGES).map(({ id, at }) => (arrivedAt[id] ?? Number.NaN) - at);
  const [batch = []] = await readBatches(sink);
  const bare = (await sdk.call('publishSingly', batch, count + WARM_UP_MESSAGES)).slice(WARM_UP_MESSAGES);
  await Promise.all([service.end(), sdk.end()]);
  return [
    judge({
      ...{ bench: 'latency', figure: 'POST to message, p99', value: percentile(latencies, 0.99), unit: 'ms' },
      ...{ yardstick: percentile(bare, 0.99), goal: { maxBeyondYardstick: 50 } },
    }),
    judge({
      ...{ bench: 'latency', figure: 'POST to message, p50', value: percentile(latencies, 0.5), unit: 'ms' },
      yardstick: percentile(bare, 0.5),
    }),
  ];
}

/** Waits for so many messages. Returns when each user's came, by id. */
async function waitForArrivals(sink: Sink, messages: number): Promise<Float64Array> {
  const deadline = performance.now() + ARRIVE_TIMEOUT_MS;
  while ((await sink.call('readTotals')).messages < messages) {
    if (performance.now() > deadline) throw new Error(`${messages} messages have not come.`);
    await sleep(PAUSE_MS);
  }
  return (await sink.call('readJournal')).at;
}
