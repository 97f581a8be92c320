import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { DISPATCH_CONCURRENCY, LEASE_MS, startInstance } from './fleet.ts';
import { startProxy } from './proxy.ts';
import { until } from './rig.ts';
import { describeRow } from './row.ts';
import { STATEMENTS } from './statements.ts';

const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 600, short: 120 } };

describeRow({ number: 5, fault: 'SIGSTOP past the lease, then SIGCONT', ...size }, async (rig) => {
  const rounds = rig.isShort ? 1 : 5;
  const proxy = await startProxy(rig.databaseUrl);
  rig.atEnd(proxy.stop);
  const sleeper = await startInstance(rig, 'sleeper', { DATABASE_URL: proxy.url });
  await startInstance(rig, 'other');
  let late = 0;
  for (let round = 1; round <= rounds; round++) {
    // Every settlement of the sleeper is on its way from when it falls asleep until its page has long been taken over.
    const arrive: (() => void)[] = [];
    proxy.treat((sql) =>
      STATEMENTS.settle.test(sql) ? new Promise((resolve) => arrive.push(() => resolve('pass'))) : 'pass',
    );
    await broadcast(rig, sleeper);
    await until(rig, 'every loop of the sleeper to settle', 3 * LEASE_MS, () => arrive.length >= DISPATCH_CONCURRENCY);
    sleeper.process.kill('SIGSTOP');
    await untilCompleted(rig);
    late += arrive.length;
    proxy.treat(() => 'pass');
    for (const pass of arrive) pass();
    sleeper.process.kill('SIGCONT');
    await until(rig, 'the sleeper to notice', 3 * LEASE_MS, () => countLines(sleeper.process.output.stdout) >= late);
    rig.log(`round ${round}: ${arrive.length} settlements came too late`);
  }
  await untilCompleted(rig);

  // What came too late has changed nothing: counts, lists and the single completion are those of the other process.
  const books = await closeBooks(rig);
  const settledTwice = countLines(sleeper.process.output.stdout);
  return {
    ...{ books, duplicatesMax: late * rig.pageUsers },
    need: { 'every late settlement is refused': settledTwice === late && late === rounds * DISPATCH_CONCURRENCY },
    figures: { 'late settlements': late },
  };
});

/** Pages of which a process found out that they are its own no more. */
const countLines = (log: string) => log.match(/page not held any more|lease lost while publishing/g)?.length ?? 0;
