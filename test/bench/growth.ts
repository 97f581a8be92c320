import { type BenchContext, judgeVerdict, runsOf } from './bench.ts';
import { broadcast, INPUT, notify, type Outcome, waitForEnd } from './broadcast.ts';
import { addVerdict, checkBroadcast, createVerdict, type Verdict } from './check.ts';
import type { BenchDatabase } from './database.ts';
import { type Figure, judge, median } from './figures.ts';
import type { Usage } from './meter.ts';
import { type BenchService, startService } from './service.ts';

/** What a broadcast of one size takes, one recipient per message: per user of the audience, of which seven in ten are told. */
type Size = {
  users: number;
  secondsPerUser: number;
  cpuSecondsPerUser: number;
  peakBytes: number;
  medianBytes: number;
  verdict: Verdict;
};

/** The sizes, as parts of the largest, and the broadcasts of each in a round: small ones are over before they count. */
const SIZES = [
  { part: 0.01, broadcasts: 10 },
  { part: 0.1, broadcasts: 2 },
  { part: 1, broadcasts: 1 },
];
/** Before that, each process notifies so many users so many times, whatever the size: memory grows while code warms up. */
const WARM_UP = { users: 10_000, times: 10, shortTimes: 1 };

/** Time per user at three sizes: flat, whatever the audience. */
export async function benchLinear(context: BenchContext): Promise<Figure[]> {
  const sizes = await measureGrowth(context);
  const bench = 'linear';
  const times = sizes.map(({ secondsPerUser }) => secondsPerUser);
  return [
    ...sizes.flatMap(({ users, secondsPerUser, cpuSecondsPerUser }) => [
      judge({ bench, figure: `time per user, ${name(users)}`, value: secondsPerUser * 1e6, unit: 'µs' }),
      judge({ bench, figure: `CPU per user, ${name(users)}`, value: cpuSecondsPerUser * 1e6, unit: 'µs' }),
    ]),
    judge({
      ...{ bench, figure: 'slowest to fastest', unit: 'µs', goal: { ratioMax: 1.1 } },
      ...{ value: Math.max(...times) * 1e6, yardstick: Math.min(...times) * 1e6 },
    }),
    ...sizes.slice(-1).flatMap(({ users, verdict }) => judgeVerdict(bench, `, ${name(users)}`, verdict)),
  ];
}

/** Resident memory at three sizes: as much for everyone as for a few. */
export async function benchMemory(context: BenchContext): Promise<Figure[]> {
  const sizes = await measureGrowth(context);
  const bench = 'memory';
  const [smallest, largest] = [sizes[0], sizes.at(-1)];
  const grown = (largest?.peakBytes ?? Number.NaN) - (smallest?.peakBytes ?? Number.NaN);
  return [
    ...sizes.flatMap(({ users, peakBytes, medianBytes }) => [
      judge({ bench, figure: `peak, ${name(users)}`, value: peakBytes / 1e6, unit: 'MB' }),
      judge({ bench, figure: `median, ${name(users)}`, value: medianBytes / 1e6, unit: 'MB' }),
    ]),
    judge({ bench, figure: 'growth of the peak', value: grown / 1e6, unit: 'MB', goal: { max: 20 } }),
  ];
}

const name = (users: number) => `${users.toLocaleString('en')} users`;

type Running = {
  database: BenchDatabase;
  service: BenchService;
  broadcasts: number;
  outcomes: (Outcome & Usage)[];
  verdict: Verdict;
};

/** In rounds of all sizes, so that a slow moment of the machine meets all of them. */
function measureGrowth(context: BenchContext): Promise<Size[]> {
  return context.once('growth', async () => {
    const sizes: Running[] = [];
    for (const { part, broadcasts } of SIZES) {
      sizes.push(await startSize(context, Math.round(context.users * part), broadcasts));
    }
    const rounds = runsOf(context);
    for (let round = 0; round < rounds; round++) {
      for (const size of sizes) await runRound(context, size, (share) => context.progress((round + share) / rounds));
    }
    for (const { service } of sizes) await service.end();
    return sizes.map(summarize);
  });
}

/** A process of its own for each size, so that none has the memory of another. */
async function startSize({ databases, sink, isShort }: BenchContext, users: number, broadcasts: number) {
  const database = await databases.open('mixed', users);
  const service = await startService({ databaseUrl: database.url, sinkUrl: sink.url });
  await warmUp(service, database, isShort ? WARM_UP.shortTimes : WARM_UP.times);
  return { database, service, broadcasts, outcomes: [], verdict: createVerdict() };
}

async function runRound({ sink, users }: BenchContext, size: Running, progress: (share: number) => void) {
  const { database, service, broadcasts, outcomes, verdict } = size;
  for (let run = 0; run < broadcasts; run++) {
    await sink.call('reset', database.users);
    outcomes.push(await broadcast(service, database, (share) => progress((share * database.users) / users)));
    addVerdict(verdict, await checkBroadcast(sink, database));
  }
}

function summarize({ database: { users }, outcomes, verdict }: Running): Size {
  return {
    ...{ users, verdict },
    secondsPerUser: median(outcomes.map(({ seconds }) => seconds / users)),
    cpuSecondsPerUser: median(outcomes.map(({ cpuSeconds }) => cpuSeconds / users)),
    peakBytes: Math.max(...outcomes.map(({ peakBytes }) => peakBytes)),
    medianBytes: median(outcomes.map(({ medianBytes }) => medianBytes)),
  };
}

async function warmUp(service: BenchService, database: BenchDatabase, times: number): Promise<void> {
  const user_ids = Array.from({ length: Math.min(WARM_UP.users, database.users) }, (_, index) => index + 1);
  for (let time = 0; time < times; time++) {
    await waitForEnd(database, await notify(service.url, { ...INPUT, user_ids }), () => undefined);
  }
}
