import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { type Rig, until } from './rig.ts';
import { describeRow } from './row.ts';

const ABORT_MS_MAX = 6_000;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 300, short: 120 } };

describeRow({ number: 13, fault: 'SNS hangs', ...size }, async (rig) => {
  const hangMs = rig.isShort ? 13_000 : 60_000;
  const [first] = await startFleet(rig, ['a', 'b']);
  rig.oracle.plan(() => ({ connection: 'hang' }));
  await broadcast(rig, first);
  await until(rig, 'the first calls', 10_000, () => rig.oracle.calls.length > 0);
  const hangs = performance.now();
  let held = 0;
  await until(rig, 'the hang to last', hangMs + 60_000, async () => {
    held = Math.max(held, await countHeld(rig));
    return performance.now() - hangs >= hangMs;
  });
  const hung = [...rig.oracle.calls];
  rig.oracle.plan(() => ({}));
  const backAt = performance.now();
  await until(rig, 'messages again', 30_000, () =>
    rig.oracle.calls.some(({ at, isAnswered }) => at > backAt && isAnswered),
  );
  const resumeMs = performance.now() - backAt;
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const durations = hung.map(({ at, endedAt }) => (endedAt ?? Number.POSITIVE_INFINITY) - at);
  return {
    ...{ books, resumeMs },
    need: {
      'every call is given up within 6 s': Math.max(...durations) <= ABORT_MS_MAX,
      'no connection to the database is held meanwhile': held === 0,
    },
    figures: { 'hung calls': hung.length, 'longest s': (Math.max(...durations) / 1_000).toFixed(1) },
  };
});

/** Connections that are in a transaction, or a statement, for longer than any statement of the dispatch takes. */
async function countHeld({ sql }: Rig): Promise<number> {
  const { rows } = await sql.query(`
    select from pg_stat_activity where application_name = 'notification-service' and datname = current_database()
      and (state like 'idle in transaction%' or (state <> 'idle' and clock_timestamp() - xact_start > interval '1 s'))`);
  return rows.length;
}
