import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchContext } from './bench.ts';
import { INPUT, notify } from './broadcast.ts';
import { type Figure, judge } from './figures.ts';
import { startService } from './service.ts';
import { type Sink, UNLIMITED } from './sink.ts';

/** Messages per second that SNS takes: the quota of most regions, and one of the larger. */
const RATES = [300, 9_000];
/** Of these the short form's users last for some seconds. */
const SHORT_RATES = [300, 2_000];
/** Whether the service is told the limit, or finds it out. How long it may take until it is held to it. */
const WAYS = [
  { way: 'told', isTold: true, rampMs: 3_000 },
  { way: 'found out', isTold: false, rampMs: 10_000 },
];
const WINDOW_MS = 10_000;
/** How long is watched; every window in it counts. */
const WATCH_MS = 15_000;
/** The short form's times are so much shorter. */
const SHORTER = 5;
const SAMPLE_MS = 250;

type Sample = { messages: number; at: number };

/** How much of what SNS takes is used in the worst ten seconds, and that nobody is failed by being throttled. */
export async function benchQuota(context: BenchContext): Promise<Figure[]> {
  const cases = (context.isShort ? SHORT_RATES : RATES).flatMap((rate) => WAYS.map((way) => ({ rate, ...way })));
  const figures: Figure[] = [];
  for (const [index, { rate, way, isTold, rampMs }] of cases.entries()) {
    const progress = (share: number) => context.progress((index + share) / cases.length);
    const { used, failed } = await limit(context, { rate, isTold, rampMs, progress });
    const figure = `${rate}/s, ${way}`;
    figures.push(
      judge({ bench: 'quota', figure: `${figure}, used`, value: used * 100, unit: '%', goal: { min: 95 } }),
      judge({ bench: 'quota', figure: `${figure}, failed`, value: failed, unit: 'users', goal: { exactly: 0 } }),
    );
  }
  return figures;
}

type Case = { rate: number; isTold: boolean; rampMs: number; progress: (share: number) => void };

async function limit({ databases, sink, users, isShort }: BenchContext, { rate, isTold, rampMs, progress }: Case) {
  const database = await databases.open('mixed', users);
  await sink.call('reset', users);
  await sink.call('behave', rate, 0);
  const variables = isTold ? { PUBLISH_RATE_LIMIT: String(rate) } : {};
  const service = await startService({ databaseUrl: database.url, sinkUrl: sink.url, variables });
  const id = await notify(service.url, INPUT);
  const shorter = isShort ? SHORTER : 1;
  await sleep(rampMs / shorter);
  const samples = await watch(sink, WATCH_MS / shorter, progress);
  await service.end();
  await sink.call('behave', UNLIMITED, 0);
  const { rows } = await database.client.query<{ failed: number }>('select failed from notifications where id = $1', [
    id,
  ]);
  return { used: findLeast(samples, WINDOW_MS / shorter) / rate, failed: rows[0]?.failed ?? Number.NaN };
}

async function watch(sink: Sink, forMs: number, progress: (share: number) => void): Promise<Sample[]> {
  const samples = [await sink.call('readTotals')];
  const begin = samples[0]?.at ?? 0;
  for (let last = begin; last - begin < forMs; last = samples.at(-1)?.at ?? 0) {
    await sleep(SAMPLE_MS);
    samples.push(await sink.call('readTotals'));
    progress((last - begin) / forMs);
  }
  return samples;
}

/** Messages per second in the window that had the fewest. */
function findLeast(samples: Sample[], windowMs: number): number {
  const rates = samples.flatMap((from, index) => {
    const to = samples.slice(index).find(({ at }) => at - from.at >= windowMs);
    return to === undefined ? [] : [((to.messages - from.messages) / (to.at - from.at)) * 1_000];
  });
  return Math.min(...rates);
}
