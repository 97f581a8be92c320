import { setTimeout as sleep } from 'node:timers/promises';
import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { paceMs, startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import { startProbe, sumUp } from './probe.ts';
import { until } from './rig.ts';
import { describeRow } from './row.ts';

const RESUME_MS_MAX = 15_000;
const CALLS_PER_SECOND_MAX = 1;
/** A call a second is one more than the seconds of a time that begins with it. */
const ONE_CALL_MS = 1_000;
/** What was under way when SNS went away fails first, and each process slows down from then on. */
const SETTLE_IN_MS = 5_000;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 600, short: 150 } };

describeRow({ number: 12, fault: 'SNS down', ...size }, async (rig) => {
  const downMs = rig.isShort ? 30_000 : 300_000;
  const fleet = await startFleet(rig, ['a', 'b']);
  slowDown(rig, paceMs(rig, 15));
  await broadcast(rig, fleet[0]);
  await until(rig, 'the first messages', 10_000, () => rig.oracle.calls.length > 0);
  const probe = startProbe(rig, () => fleet);
  await sleep(2_000);

  // Half of the time it resets connections, and half of it answers 503.
  rig.oracle.goDown(true);
  const downAt = performance.now();
  await sleep(downMs / 2);
  rig.oracle.plan(() => ({ refuse: { status: 503, code: 'ServiceUnavailable' } }));
  rig.oracle.goDown(false);
  await sleep(downMs / 2);
  slowDown(rig, 0);
  const backAt = performance.now();
  const isBack = (name: string) =>
    rig.oracle.calls.some((call) => call.instance === name && call.at > backAt && call.isAnswered);
  await until(rig, 'messages again', 2 * RESUME_MS_MAX, () => isBack('a') && isBack('b')).catch(() => undefined);
  const resumeMs = performance.now() - backAt;
  await probe.stop();
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const during = sumUp(probe.replies, downAt, backAt);
  const [from, to] = [downAt + SETTLE_IN_MS, backAt];
  const tries = [...rig.oracle.refused, ...rig.oracle.calls].filter(({ at }) => at >= from && at < to);
  const rates = ['a', 'b'].map(
    (name) => (tries.filter(({ instance }) => instance === name).length * 1_000) / (to - from),
  );
  return {
    // What was accepted when the connection went is sent again: the calls under way.
    ...{ books, resumeMs, duplicatesMax: 2 * CALLS_UNDER_WAY },
    need: {
      'the API accepts all the while': during.count > 0 && during.wrong.length === 0 && during.refused === 0,
      'at most one call a second from each process':
        Math.max(...rates) <= CALLS_PER_SECOND_MAX + ONE_CALL_MS / (to - from),
      'goes on within 15 s': resumeMs <= RESUME_MS_MAX,
    },
    figures: {
      'down s': downMs / 1_000,
      'calls/s while down': rates.map((rate) => rate.toFixed(2)).join(' '),
      requests: during.count,
    },
  };
});

/** Messages of the calls that a process may have under way. */
const CALLS_UNDER_WAY = 16 * 10;
