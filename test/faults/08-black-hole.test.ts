import { setTimeout as sleep } from 'node:timers/promises';
import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { duplicatesOf } from './crashes.ts';
import { areRunning, paceMs, startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import { describeWrong, measureRecovery, startProbe, sumUp } from './probe.ts';
import { startProxy } from './proxy.ts';
import { until } from './rig.ts';
import { describeRow } from './row.ts';

const ANSWER_MS_MAX = 5_000;
const RECOVERY_MS_MAX = 10_000;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 400, short: 150 } };

describeRow({ number: 8, fault: 'the database swallows everything', ...size }, async (rig) => {
  const holeMs = rig.isShort ? 15_000 : 60_000;
  const proxy = await startProxy(rig.databaseUrl);
  rig.atEnd(proxy.stop);
  const fleet = await startFleet(rig, ['a', 'b'], { DATABASE_URL: proxy.url });
  slowDown(rig, paceMs(rig, 20));
  await broadcast(rig, fleet[0]);
  await until(rig, 'the first messages', 10_000, () => rig.oracle.calls.length > 0);
  const probe = startProbe(rig, () => fleet);
  await sleep(2_000);

  proxy.blackHole(true);
  const lostAt = performance.now();
  await sleep(holeMs);
  proxy.blackHole(false);
  const backAt = performance.now();
  slowDown(rig, 0);
  await sleep(RECOVERY_MS_MAX);
  await probe.stop();
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const during = sumUp(probe.replies, lostAt, backAt - ANSWER_MS_MAX);
  const resumeMs = Math.max(
    measureRecovery(probe.replies, ['a', 'b'], backAt),
    (rig.oracle.calls.find(({ at }) => at > backAt)?.at ?? Number.POSITIVE_INFINITY) - backAt,
  );
  return {
    // Whoever cannot settle in time may be taken over as soon as there is a database again.
    ...{ books, resumeMs, duplicatesMax: duplicatesOf(rig, 2) },
    need: {
      'every request is answered within 5 s': during.count > 0 && during.slowestMs <= ANSWER_MS_MAX,
      'with 503 and Retry-After': during.wrong.length === 0 && during.refused > 0,
      'healthy within 10 s of the end': resumeMs <= RECOVERY_MS_MAX,
      'no process ended': areRunning(fleet),
    },
    figures: {
      'slowest answer s': (during.slowestMs / 1_000).toFixed(1),
      refused: during.refused,
      wrong: describeWrong(during.wrong),
    },
  };
});
