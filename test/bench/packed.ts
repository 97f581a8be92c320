import { deepStrictEqual } from 'node:assert';
import { type BenchContext, judgeVerdict, runsOf } from './bench.ts';
import { broadcast, INPUT, type Outcome } from './broadcast.ts';
import { addVerdict, checkBroadcast, createVerdict, type Verdict } from './check.ts';
import { type Figure, judge, median } from './figures.ts';
import { measureResolving } from './resolve.ts';
import { startService } from './service.ts';

const RECIPIENTS_PER_MESSAGE = 100;

type Counts = Pick<Outcome, 'targeted' | 'published' | 'messages' | 'suppressed' | 'by_channel'>;

type Packed = {
  users: number;
  usersPerSecond: number;
  previewSeconds: number;
  /** Resident memory that the previews added to what there was before them. */
  previewBytes: number;
  isPreviewRight: boolean;
  verdict: Verdict;
};

/** Users per second with many recipients per message, against claiming, resolving and settling without publishing. */
export async function benchPacked(context: BenchContext): Promise<Figure[]> {
  const { usersPerSecond, users, verdict } = await measurePacked(context);
  const resolving = await measureResolving(context);
  const bench = 'packed';
  return [
    judge({
      ...{ bench, figure: `by ${RECIPIENTS_PER_MESSAGE}, ${users.toLocaleString('en')} users`, unit: 'users/s' },
      ...{ value: usersPerSecond, yardstick: resolving.usersPerSecond, goal: { ratioMin: 0.8 } },
    }),
    ...judgeVerdict(bench, '', verdict),
  ];
}

/** Time to count everyone, and whether the dispatch comes to the same. */
export async function benchPreview(context: BenchContext): Promise<Figure[]> {
  const { previewSeconds, previewBytes, isPreviewRight, users } = await measurePacked(context);
  const [bench, goal] = ['preview', { max: 3 }];
  return [
    judge({ bench, figure: `${users.toLocaleString('en')} users`, value: previewSeconds, unit: 's', goal }),
    judge({ bench, figure: 'memory added', value: previewBytes / 1e6, unit: 'MB' }),
    judge({
      ...{ bench, figure: 'counts other than the dispatch', unit: 'previews' },
      ...{ value: isPreviewRight ? 0 : 1, goal: { exactly: 0 } },
    }),
  ];
}

function measurePacked(context: BenchContext): Promise<Packed> {
  return context.once('packed', async () => {
    const { databases, sink, users, progress } = context;
    const database = await databases.open('mixed', users);
    const variables = { RECIPIENTS_PER_MESSAGE: String(RECIPIENTS_PER_MESSAGE) };
    const service = await startService({ databaseUrl: database.url, sinkUrl: sink.url, variables });
    const runs = runsOf(context);
    const before = await service.call('read');
    const previews = [];
    for (let run = 0; run < runs; run++) previews.push(await preview(service.url));
    const { peakBytes } = await service.call('read');
    const outcomes: Outcome[] = [];
    const verdict = createVerdict();
    // The first is not counted: code that runs for the first time is compiled.
    for (let run = 0; run <= runs; run++) {
      await sink.call('reset', users);
      outcomes.push(await broadcast(service, database, (share) => progress((run + share) / (runs + 1))));
      addVerdict(verdict, await checkBroadcast(sink, database));
    }
    await service.end();
    return {
      ...{ users, verdict, previewBytes: peakBytes - before.peakBytes },
      usersPerSecond: median(outcomes.slice(1).map(({ seconds }) => users / seconds)),
      previewSeconds: median(previews.map(({ seconds }) => seconds)),
      isPreviewRight: previews.every(({ counts }) => outcomes.every((outcome) => comesTo(counts, outcome))),
    };
  });
}

async function preview(url: string): Promise<{ seconds: number; counts: Counts }> {
  const begin = performance.now();
  const response = await fetch(`${url}/notifications/preview`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(INPUT),
  });
  if (!response.ok) throw new Error(`POST /notifications/preview answers ${response.status}.`);
  const counts = (await response.json()) as Counts;
  return { counts, seconds: (performance.now() - begin) / 1_000 };
}

/** Whether a dispatch has come to what a preview said. A row leaves out what is zero. */
function comesTo(counts: Counts, outcome: Counts): boolean {
  const keep = ({ targeted, published, messages, suppressed, by_channel }: Counts) => ({
    ...{ targeted, published, messages, by_channel: keepPositive(by_channel), suppressed: keepPositive(suppressed) },
  });
  try {
    deepStrictEqual(keep(counts), keep(outcome));
    return true;
  } catch {
    return false;
  }
}

const keepPositive = (counts: Record<string, number>) =>
  Object.fromEntries(Object.entries(counts).filter(([, users]) => users > 0));
