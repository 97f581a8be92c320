import { configSchema } from '../../src/config.ts';
import { type BenchContext, runsOf } from './bench.ts';
import { startChild } from './child.ts';
import { type Figure, judge, median } from './figures.ts';
import type { FloorHandlers } from './floor-process.ts';
import type { LoadHandlers, LoadRequest } from './load-process.ts';
import { startService } from './service.ts';

const CONNECTIONS = 64;
/** Of a run; long enough for a hundred thousand answers. */
const SECONDS = 5;
const SHORT_SECONDS = 1;
/** The pool of the service, unless it is told otherwise. */
const POOL_MAX = configSchema.shape.DATABASE_POOL_MAX.parse(undefined);

const WAYS: { figure: string; goal: number; request: LoadRequest }[] = [
  { figure: 'GET', goal: 0.7, request: { method: 'GET', path: '/preferences/:user_id', status: 200 } },
  {
    ...{ figure: 'PATCH', goal: 0.6 },
    request: { method: 'PATCH', path: '/preferences/:user_id', body: { sms_enabled: true }, status: 200 },
  },
];

/** Requests per second that one process answers to many connections, and bare Fastify and node-postgres in turn with it. */
export async function benchPreferences(context: BenchContext): Promise<Figure[]> {
  const { databases, sink, progress } = context;
  const database = await databases.open('reachable', Math.min(context.users, 100_000));
  const variables = { ROLE: 'api' };
  const service = await startService({ databaseUrl: database.url, sinkUrl: sink.url, variables });
  const floor = startChild<FloorHandlers>('floor-process.js');
  const load = startChild<LoadHandlers>('load-process.js');
  const floorUrl = await floor.call('serve', database.url, POOL_MAX);
  const options = {
    ...{ connections: CONNECTIONS, users: database.users },
    seconds: context.isShort ? SHORT_SECONDS : SECONDS,
  };
  const runs = runsOf(context);
  const figures: Figure[] = [];
  for (const [index, { figure, goal, request }] of WAYS.entries()) {
    const [ours, bare] = [[] as number[], [] as number[]];
    // The first of each is not counted: code that runs for the first time is compiled.
    for (let run = 0; run <= runs; run++) {
      progress((index + run / (runs + 1)) / WAYS.length);
      ours.push(await load.call('run', service.url, request, options));
      bare.push(await load.call('run', floorUrl, request, options));
    }
    const values = { value: median(ours.slice(1)), yardstick: median(bare.slice(1)) };
    figures.push(judge({ bench: 'preferences', figure, unit: 'requests/s', ...values, goal: { ratioMin: goal } }));
  }
  await Promise.all([service.end(), floor.end(), load.end()]);
  return figures;
}
