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
/** How long nothing is throttled, to find out what full speed is. */
const FREE_MS = 4_000;
const size = { users: { full: 100_000, short: 25_000 }, limitSeconds: { full: 300, short: 150 } };

describeRow({ number: 11, fault: 'SNS throttles to 300 messages/s, then no more', ...size }, async (rig) => {
  // So long a call that it, and not this machine, says what full speed is.
  const callMs = rig.isShort ? 300 : 100;
  const [adaptMs, measureMs] = rig.isShort ? [10_000, 8_000] : [30_000, 15_000];
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
  await sleep(FREE_MS);
  const fullSpeed = (countAccepted(rig, freeAt, freeAt + FREE_MS) * SECOND_MS) / FREE_MS;
  limit.bucket = createBucket(RATE);
  await sleep(adaptMs);
  const adaptedAt = performance.now();
  await sleep(measureMs);
  const used = countAccepted(rig, adaptedAt, adaptedAt + measureMs) / ((RATE * measureMs) / SECOND_MS);
  limit.bucket = createBucket(Number.POSITIVE_INFINITY);
  const liftedAt = performance.now();
  const isFast = () => countAccepted(rig, performance.now() - SECOND_MS, performance.now()) >= USED_MIN * fullSpeed;
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
    figures: { 'used of the rate': used.toFixed(3), 'messages/s at full speed': Math.round(fullSpeed) },
  };
});

/** Messages accepted from one time to another, a moment ago mostly: looked for from the end. */
function countAccepted({ oracle }: Rig, from: number, to: number): number {
  let count = 0;
  for (let index = oracle.journal.length - 1; index >= 0; index--) {
    const entry = oracle.journal[index];
    if (entry === undefined || entry.at < from) break;
    if (entry.message_id !== null && entry.at < to) count += 1;
  }
  return count;
}
