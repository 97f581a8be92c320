import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { paceMs, startInstance } from './fleet.ts';
import { slowDown } from './plans.ts';
import { describeRow } from './row.ts';

const SHIFT_MS = 600_000;
/** Longer than a lease, so that one that is read off a wrong clock has run out. */
const BROADCAST_SECONDS = { full: 40, short: 14 };
const size = { users: { full: 100_000, short: 3_000 }, limitSeconds: { full: 300, short: 120 } };

/** A process whose clock is wrong by so much. */
const shifted = (ms: number) => ({
  NODE_OPTIONS: `--import=${pathToFileURL(join(import.meta.dirname, 'clock.mjs')).href}`,
  CLOCK_SHIFT_MS: String(ms),
});

describeRow({ number: 6, fault: 'clocks ten minutes early and late, on two of three', ...size }, async (rig) => {
  const fleet = [
    await startInstance(rig, 'early', shifted(-SHIFT_MS)),
    await startInstance(rig, 'late', shifted(SHIFT_MS)),
    await startInstance(rig, 'right'),
  ] as const;
  slowDown(rig, paceMs(rig, BROADCAST_SECONDS[rig.isShort ? 'short' : 'full'], fleet.length));

  await broadcast(rig, fleet[0]);
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const { rows } = await rig.sql.query(`select from witness where event = 'taken over'`);
  const instances = new Set(rig.oracle.calls.map(({ instance }) => instance));
  const [early = 0, late = 0, right = 0] = fleet.map(({ process }) => readClock(process.output.stdout));
  return {
    books,
    need: {
      'no lease is stolen': rows.length === 0,
      'all instances published': instances.size === fleet.length,
      'the clocks are wrong': right - early > SHIFT_MS / 2 && late - right > SHIFT_MS / 2,
    },
    figures: { 'early s': Math.round((right - early) / 1_000), 'late s': Math.round((late - right) / 1_000) },
  };
});

/** The time of the first line of a log, in ms. */
const readClock = (log: string) => Number(/"time":(\d+)/.exec(log)?.[1]);
