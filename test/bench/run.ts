/** Measures the service beside its yardsticks, on this machine: `npm run bench -- --help`. */

import { benchAccept } from './accept.ts';
import { benchAuthentication } from './authentication.ts';
import type { Bench, BenchContext } from './bench.ts';
import { killChildren } from './child.ts';
import { type BenchCommand, BenchUsageError, describeUsage, parseBenchCommand } from './command.ts';
import { startDatabases } from './database.ts';
import { benchDispatch } from './dispatch.ts';
import { type Figure, isCount } from './figures.ts';
import { benchLinear, benchMemory } from './growth.ts';
import { benchLatency } from './latency.ts';
import { benchPacked, benchPreview } from './packed.ts';
import { benchPreferences } from './preferences.ts';
import { createProgressBar } from './progress.ts';
import { benchQuota } from './quota.ts';
import { renderTable } from './report.ts';
import { benchResolve } from './resolve.ts';
import { startSink } from './sink.ts';
import { benchTwoInstances } from './two-instances.ts';

const BENCHES: Bench[] = [
  { name: 'accept', run: benchAccept },
  { name: 'preview', run: benchPreview },
  { name: 'dispatch', run: benchDispatch },
  { name: 'resolve', run: benchResolve },
  { name: 'packed', run: benchPacked },
  { name: 'linear', run: benchLinear },
  { name: 'memory', run: benchMemory },
  { name: 'quota', run: benchQuota },
  { name: 'latency', run: benchLatency },
  { name: 'preferences', run: benchPreferences },
  { name: 'authentication', run: benchAuthentication },
  { name: 'two-instances', run: benchTwoInstances },
];
const NAMES = BENCHES.map(({ name }) => name);

try {
  const command = parseBenchCommand(process.argv.slice(2), NAMES);
  if (command === null) console.log(describeUsage(NAMES));
  else process.exitCode = (await measure(command)) ? 0 : 1;
} catch (error) {
  if (!(error instanceof BenchUsageError)) throw error;
  console.error(`${error.message}\n\n${describeUsage(NAMES)}`);
  process.exitCode = 2;
}

/** Runs the benchmarks that are asked for, and prints what they find. Returns whether every goal that counts is met. */
async function measure(command: BenchCommand): Promise<boolean> {
  const databases = await startDatabases();
  let cleaning: Promise<void> | undefined;
  const cleanUp = () => (cleaning ??= killChildren().then(databases.stop));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void cleanUp().finally(() => process.exit(1)));
  }
  try {
    const figures = await runBenches(command, { databases, sink: await startSink() });
    if (!command.isJson) console.log(renderTable(figures));
    if (command.isShort && !command.isJson) console.log('\nIn the short form, only counts decide.');
    return figures.every((figure) => figure.pass !== false || (command.isShort && !isCount(figure)));
  } finally {
    await cleanUp();
  }
}

async function runBenches(
  { names, users, isShort, isJson }: BenchCommand,
  tools: Pick<BenchContext, 'databases' | 'sink'>,
): Promise<Figure[]> {
  const bar = createProgressBar(process.stderr);
  const runs = new Map<string, Promise<unknown>>();
  const once: BenchContext['once'] = (name, run) => {
    const known = runs.get(name) ?? run();
    runs.set(name, known);
    return known as ReturnType<typeof run>;
  };
  const figures: Figure[] = [];
  for (const [index, name] of names.entries()) {
    const progress = (share: number) => bar.show(name, (index + share) / names.length);
    progress(0);
    const found = await BENCHES.find((bench) => bench.name === name)?.run({ ...tools, users, isShort, progress, once });
    bar.clear();
    for (const figure of found ?? []) if (isJson) console.log(JSON.stringify(figure));
    figures.push(...(found ?? []));
  }
  return figures;
}
