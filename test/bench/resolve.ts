import { randomUUID } from 'node:crypto';
import { type BenchContext, runsOf } from './bench.ts';
import { INPUT, waitForEnd } from './broadcast.ts';
import { startChild } from './child.ts';
import type { BenchDatabase } from './database.ts';
import { type Figure, judge, median } from './figures.ts';
import type { PassHandlers } from './pass-process.ts';
import type { ResolveHandlers } from './resolve-process.ts';
import { describeService } from './service.ts';

/** What claiming, resolving and settling a broadcast takes without publishing: users per second, and both times. */
export type Resolving = {
  usersPerSecond: number;
  seconds: number;
  bareSeconds: number;
  cpuSeconds: number;
  users: number;
};

/** Time to claim, resolve and settle everyone, against the query that resolves them and nothing else. */
export async function benchResolve(context: BenchContext): Promise<Figure[]> {
  const { seconds, bareSeconds, cpuSeconds, users } = await measureResolving(context);
  const bench = 'resolve';
  return [
    judge({
      ...{ bench, figure: `${users.toLocaleString('en')} users`, value: seconds, unit: 's', yardstick: bareSeconds },
      goal: { ratioMax: 2.5 },
    }),
    judge({ bench, figure: 'CPU per user', value: (cpuSeconds / users) * 1e6, unit: 'µs' }),
  ];
}

export function measureResolving(context: BenchContext): Promise<Resolving> {
  return context.once('resolve', async () => {
    const { databases, users, progress } = context;
    const database = await databases.open('mixed', users);
    const service = startChild<ResolveHandlers>('resolve-process.js', { env: describeService(database.url) });
    const bare = startChild<PassHandlers>('pass-process.js');
    const runs = runsOf(context);
    const [seconds, bareSeconds, cpuSeconds] = [[] as number[], [] as number[], [] as number[]];
    // The first is not counted: code that runs for the first time is compiled, and tables are not in memory.
    for (let run = 0; run <= runs; run++) {
      await service.call('reset');
      const id = await insertNotification(database);
      await service.call('wake');
      const outcome = await waitForEnd(database, id, (share) => progress((run + share) / (runs + 1)));
      const usage = await service.call('read');
      const pass = await bare.call('pass', database.url, id);
      if (pass.users !== users || outcome.targeted !== users) throw new Error('Not every user was resolved.');
      if (run === 0) continue;
      seconds.push(outcome.seconds);
      bareSeconds.push(pass.seconds);
      cpuSeconds.push(usage.cpuSeconds);
    }
    await Promise.all([service.end(), bare.end()]);
    const time = median(seconds);
    const cpu = { cpuSeconds: median(cpuSeconds) };
    return { usersPerSecond: users / time, seconds: time, bareSeconds: median(bareSeconds), users, ...cpu };
  });
}

/** A notification to everyone, as the API would have stored it. */
async function insertNotification({ client }: BenchDatabase): Promise<string> {
  const id = randomUUID();
  await client.query(
    `insert into notifications (id, subject, payload, user_ids, everyone, channels, status, created_by)
     values ($1, $2, $3, '{}', true, '{email,sms}', 'queued', 'anonymous')`,
    [id, INPUT.subject, INPUT.payload],
  );
  return id;
}
