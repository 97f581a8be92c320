import type { BenchContext } from './bench.ts';
import { INPUT } from './broadcast.ts';
import { startChild } from './child.ts';
import { type Figure, judge, percentile } from './figures.ts';
import type { LoadHandlers, LoadRequest } from './load-process.ts';
import { startService } from './service.ts';

/** Of each kind, in turn; ten of a thousand are behind p99. */
const REQUESTS = 2_000;
const SHORT_REQUESTS = 200;
/** Sent before and not counted: code that runs for the first time is compiled. */
const WARM_UP_REQUESTS = 500;

/** How long `POST /notifications` takes for everyone, against one user: the same, as no audience is read. */
export async function benchAccept({ databases, sink, users, isShort, progress }: BenchContext): Promise<Figure[]> {
  const database = await databases.open('mixed', users);
  const variables = { ROLE: 'api' };
  const service = await startService({ databaseUrl: database.url, sinkUrl: sink.url, variables });
  const load = startChild<LoadHandlers>('load-process.js');
  const post = (body: object): LoadRequest => ({ method: 'POST', path: '/notifications', body, status: 202 });
  const requests = [post({ ...INPUT, user_ids: [1] }), post(INPUT)];
  await load.call('alternate', service.url, requests, WARM_UP_REQUESTS);
  progress(0.3);
  const count = isShort ? SHORT_REQUESTS : REQUESTS;
  const [one = [], everyone = []] = await load.call('alternate', service.url, requests, count);
  await Promise.all([service.end(), load.end()]);
  return [0.5, 0.99].map((share) =>
    judge({
      ...{ bench: 'accept', figure: `everyone, p${share * 100}`, unit: 'ms', goal: { ratioMax: 1.2 } },
      ...{ value: percentile(everyone, share), yardstick: percentile(one, share) },
    }),
  );
}
