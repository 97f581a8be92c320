import { setTimeout as sleep } from 'node:timers/promises';
import { closeBooks } from './books.ts';
import { broadcast, keepBroadcasting, untilCompleted } from './client.ts';
import { duplicatesOf } from './crashes.ts';
import { areRunning, startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import { openPostgres, type Postgres } from './postgres.ts';
import { describeWrong, measureRecovery, startProbe, sumUp } from './probe.ts';
import { type Rig, until } from './rig.ts';
import { describeRow } from './row.ts';

const ANSWER_MS_MAX = 5_000;
const RECOVERY_MS_MAX = 10_000;
const OUTAGE_MS = 5_000;
const CALL_MS = 500;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 900, short: 200 } };

let postgres: Postgres;
const openDatabase = async () => {
  postgres = await openPostgres();
  return postgres;
};

describeRow(
  { number: 7, fault: 'PostgreSQL stopped hard; all its sessions ended', ...size, openDatabase },
  async (rig) => {
    const [stops, ends] = rig.isShort ? [1, 3] : [5, 20];
    const fleet = await startFleet(rig, ['a', 'b']);
    slowDown(rig, CALL_MS);
    await broadcast(rig, fleet[0]);
    await until(rig, 'the first messages', 10_000, () => rig.oracle.calls.length > 0);
    const probe = startProbe(rig, () => [...fleet]);
    const recoveries: number[] = [];
    for (let count = 1; count <= stops; count++) {
      await keepBroadcasting(rig, fleet[0]);
      await postgres.stopHard();
      await sleep(OUTAGE_MS);
      await postgres.restart();
      const backAt = performance.now();
      await sleep(RECOVERY_MS_MAX);
      recoveries.push(measureRecovery(probe.replies, ['a', 'b'], backAt));
      rig.log(`stopped hard, ${count} of ${stops}; served again after ${Math.round(recoveries.at(-1) ?? 0)} ms`);
    }
    for (let count = 1; count <= ends; count++) {
      await keepBroadcasting(rig, fleet[0]);
      await endSessions(rig);
      await sleep(2_000);
    }
    slowDown(rig, 0);
    await probe.stop();
    await untilCompleted(rig);

    const books = await closeBooks(rig);
    const all = sumUp(probe.replies, 0, Number.POSITIVE_INFINITY);
    return {
      ...{ books, resumeMs: Math.max(...recoveries), duplicatesMax: duplicatesOf(rig, 2 * stops) },
      need: {
        'no process ended': areRunning(fleet),
        'every request is answered within 5 s': all.slowestMs <= ANSWER_MS_MAX,
        'by an answer, or 503 with Retry-After': all.wrong.length === 0 && all.refused > 0,
        'healthy within 10 s of the end': Math.max(...recoveries) <= RECOVERY_MS_MAX,
      },
      figures: {
        ...{
          stops,
          'sessions ended': ends,
          requests: all.count,
          refused: all.refused,
          wrong: describeWrong(all.wrong),
        },
        'slowest answer s': (all.slowestMs / 1_000).toFixed(1),
      },
    };
  },
);

const endSessions = ({ sql }: Rig) =>
  sql.query(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'notification-service'`);
