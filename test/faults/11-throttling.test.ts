import { setTimeout as sleep } from 'node:timers/promises';
import { createBucket } from '../support/counting-sink.ts';
import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { wait } from './plans.ts';
import { type Rig, until } from './rig.ts';
import { describeRow } from './row.ts';

const RATE = 300;
/** Of the allowed rate that has to be used. */
const USED_MIN = 0.9;
const FULL_SPEED_MS_MAX = 10_000;
const SECOND_MS = 1_000;
const size = { users: { full: 100_000, short: 30_000 }, limitSeconds: { full: 300, short: 150 } };

describeRow({ number: 11, fault: 'SNS throttles to 300 messages/s, then no more', ...size }, async (rig) => {
  // So long a call that it, and not this machine, says what full speed is.
  const callMs = rig.isShort ? 300 : 100;
  const [adaptMs, measureMs] = rig.isShort ? [12_000, 8_000] : [30_000, 15_000];
  const limit = { bucket: createBucket(Number.POSITIVE_INFINITY) };
  const [first] = await startFleet(rig, ['a', 'b'], rig.isShort ? { PAGE_USERS: '200' } : {});
  rig.oracle.plan(({ messages }) =>
    limit.bucket.take(messages)
      ? { replyAfter: wait(rig, callMs) }
      : { refuse: { status: 400, code: 'Throttling', message: 'Rate exceeded' } },
  );

  await broadcast(rig, first);
  await until(rig, 'the first messages', 10_000, () => rig.oracle.calls.length > 0);
  const freeAt = performance.now();
  await sleep(4 * SECOND_MS);
  const fullSpeed = findBestSecond(rig, freeAt, performance.now());
  limit.bucket = createBucket(RATE);
  await sleep(adaptMs);
  const adaptedAt = performance.now();
  await sleep(measureMs);
  const used = countAccepted(rig, adaptedAt, adaptedAt + measureMs) / ((RATE * measureMs) / SECOND_MS);
  limit.bucket = createBucket(Number.POSITIVE_INFINITY);
  const liftedAt = performance.now();
  const isFast = () => findBestSecond(rig, liftedAt, performance.now()) >= USED_MIN * fullSpeed;
  await until(rig, 'full speed', 2 * FULL_SPEED_MS_MAX, isFast).catch(() => undefined);
  const resumeMs = performance.now() - liftedAt;
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  return {
    ...{ books, resumeMs },
    need: {
      'at least 90 % of the allowed rate is used': used >= USED_MIN,
      'full speed within 10 s of the end': resumeMs <= FULL_SPEED_MS_MAX,
    },
    figures: { 'used of the rate': used.toFixed(3), 'messages/s at full speed': fullSpeed },
  };
});

/** Messages accepted from one time to another. */
function countAccepted({ oracle }: Rig, from: number, to: number): number {
  return oracle.journal.filter(({ at, message_id }) => message_id !== null && at >= from && at < to).length;
}

/** The most messages of any second between two times, a second and a half of which may be too short for one. */
function findBestSecond(rig: Rig, from: number, to: number): number {
  let best = 0;
  for (let at = from; at + SECOND_MS <= to; at += SECOND_MS / 4) {
    best = Math.max(best, countAccepted(rig, at, at + SECOND_MS));
  }
  return best;
}
