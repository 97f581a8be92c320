import { type BenchContext, runsOf } from './bench.ts';
import { INPUT, notify, waitForEnd } from './broadcast.ts';
import { type Figure, judge, median } from './figures.ts';
import { startService } from './service.ts';
import { UNLIMITED } from './sink.ts';

/** Of each call: one process fills few of the machine's cores then, and its calls at a time are what limits it. */
const LATENCY_MS = 50;
/** Ten seconds for one process. */
const USERS_MAX = 50_000;
const SHORT_USERS = 5_000;

/** Users per second of two processes against one, where the time that SNS takes is the limit. */
export async function benchTwoInstances(context: BenchContext): Promise<Figure[]> {
  const { databases, sink, isShort, progress } = context;
  const database = await databases.open('mixed', Math.min(context.users, isShort ? SHORT_USERS : USERS_MAX));
  await sink.call('behave', UNLIMITED, LATENCY_MS);
  const start = () => startService({ databaseUrl: database.url, sinkUrl: sink.url });
  const runs = runsOf(context);
  const measure = async (url: string, from: number) => {
    const rates: number[] = [];
    // The first is not counted: code that runs for the first time is compiled.
    for (let run = 0; run <= runs; run++) {
      const id = await notify(url, INPUT);
      const { seconds } = await waitForEnd(database, id, (share) => progress(from + (run + share) / (runs + 1) / 2));
      if (run > 0) rates.push(database.users / seconds);
    }
    return median(rates);
  };
  const first = await start();
  const one = await measure(first.url, 0);
  const second = await start();
  const two = await measure(first.url, 0.5);
  await Promise.all([first.end(), second.end()]);
  await sink.call('behave', UNLIMITED, 0);
  return [
    judge({
      ...{ bench: 'two-instances', figure: `SNS takes ${LATENCY_MS} ms`, value: two, unit: 'users/s' },
      ...{ yardstick: one, goal: { ratioMin: 1.8 } },
    }),
  ];
}
