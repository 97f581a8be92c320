import { configSchema } from '../../src/config.ts';
import { type BenchContext, judgeVerdict, runsOf } from './bench.ts';
import { broadcast } from './broadcast.ts';
import { addVerdict, checkBroadcast, createVerdict } from './check.ts';
import { startChild } from './child.ts';
import { type Figure, judge, median } from './figures.ts';
import type { SdkHandlers } from './sdk-process.ts';
import { describeAws, startService } from './service.ts';
import { readBatches } from './sink.ts';

/** As many as take the service some seconds. */
const USERS_MAX = 200_000;
/** The concurrency of the service, unless it is told otherwise. */
const CONCURRENCY = configSchema.shape.PUBLISH_CONCURRENCY.parse(undefined);

/**
 * Recipients per second of CPU time of the whole process, one message each, from POST to completion, and the same of the AWS
 * SDK that publishes what the service has published. In turn, so that a slow moment of the machine meets both.
 */
export async function benchDispatch(context: BenchContext): Promise<Figure[]> {
  const { databases, sink, progress } = context;
  const users = Math.min(context.users, USERS_MAX);
  const database = await databases.open('reachable', users);
  const service = await startService({ databaseUrl: database.url, sinkUrl: sink.url });
  const sdk = startChild<SdkHandlers>('sdk-process.js', { env: describeAws(sink.url) });
  const rates = { ours: [] as number[], wall: [] as number[], sdk: [] as number[], sdkWall: [] as number[] };
  const verdict = createVerdict();
  const runs = runsOf(context);
  // The first of each is not counted: code that runs for the first time is compiled.
  for (let run = 0; run <= runs; run++) {
    await sink.call('reset', users);
    const ours = await broadcast(service, database, (share) => progress((run + share / 2) / (runs + 1)));
    addVerdict(verdict, await checkBroadcast(sink, database));
    const batches = await readBatches(sink);
    const bare = await sdk.call('publish', batches, users, CONCURRENCY);
    if (run === 0) continue;
    rates.ours.push(ours.published / ours.cpuSeconds);
    rates.wall.push(ours.published / ours.seconds);
    rates.sdk.push(bare.messages / bare.cpuSeconds);
    rates.sdkWall.push(bare.messages / bare.seconds);
  }
  await Promise.all([service.end(), sdk.end()]);
  const bench = 'dispatch';
  const wall = { value: median(rates.wall), yardstick: median(rates.sdkWall), unit: 'recipients/s' };
  return [
    judge({
      ...{ bench, figure: 'recipients per CPU-second', value: median(rates.ours), unit: 'recipients/CPU-s' },
      ...{ yardstick: median(rates.sdk), goal: { ratioMin: 2 } },
    }),
    judge({ bench, figure: 'recipients per second', ...wall }),
    ...judgeVerdict(bench, '', verdict),
  ];
}
