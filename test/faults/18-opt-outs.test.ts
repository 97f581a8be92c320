import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { pick } from '../support/random.ts';
import { readExpected } from './audience.ts';
import { closeBooks } from './books.ts';
import { keyOf } from './checker.ts';
import { broadcast, send, untilCompleted } from './client.ts';
import { paceMs, startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import type { Rig } from './rig.ts';
import { describeRow } from './row.ts';

/** Requests at a time. */
const CALLERS = 8;
const BROADCAST_SECONDS = { full: 30, short: 10 };
const size = { users: { full: 100_000, short: 5_000 }, limitSeconds: { full: 300, short: 90 } };

/** By user, when the opt-out was committed, at the latest, by the database's clock. */
type OptOuts = Map<number, string>;

describeRow({ number: 18, fault: 'opt-outs during a broadcast', ...size }, async (rig) => {
  const count = rig.isShort ? 200 : 1_000;
  const fleet = await startFleet(rig, ['a', 'b']);
  const seconds = BROADCAST_SECONDS[rig.isShort ? 'short' : 'full'];
  slowDown(rig, paceMs(rig, seconds));
  // Over most of the broadcast.
  const pauseMs = (seconds * 800 * CALLERS) / count;

  const id = await broadcast(rig, fleet[0]);
  const before = await readExpected(rig.sql, rig.promised);
  const optOuts: OptOuts = new Map();
  const limit = pLimit(CALLERS);
  const user_ids = drawEmailUsers(rig, count);
  await Promise.all(
    user_ids.map((user_id) =>
      limit(async () => {
        const body = { email_enabled: false };
        const { status } = await send(pick(rig.random, fleet), {
          method: 'PATCH',
          path: `/preferences/${user_id}`,
          body,
        });
        if (status !== 200) throw new Error(`The opt-out of ${user_id} was answered by ${status}.`);
        const { rows } = await rig.sql.query<{ now: Date }>('select clock_timestamp() as now');
        await sleep(pauseMs);
        optOuts.set(user_id, rows[0]?.now.toISOString() ?? '');
      }),
    ),
  );
  await untilCompleted(rig);

  const tooLate = rig.oracle.journal.filter(
    ({ user_id, told, claimed_at }) => told.includes('email=') && claimed_at > (optOuts.get(user_id) ?? LAST),
  );
  const toldBefore = new Set(
    rig.oracle.journal.filter(({ told }) => told.includes('email=')).map(({ user_id }) => user_id),
  );
  const books = await closeBooks(rig, {
    // Whoever was told by e-mail was told by a page claimed before.
    adjust: (expected) => {
      for (const user_id of optOuts.keys()) {
        const key = keyOf({ notification_id: id, user_id });
        const told = before.get(key);
        if (toldBefore.has(user_id) && told !== undefined) expected.set(key, told);
      }
    },
  });
  const spared = user_ids.filter((user_id) => !toldBefore.has(user_id)).length;
  return {
    books,
    need: {
      'nobody is told by a page claimed after the opt-out': tooLate.length === 0,
      'some opted out in time, and some too late': spared > 0 && spared < count,
    },
    figures: { 'opt-outs': optOuts.size, 'in time': spared },
  };
});

const LAST = '9999';

/** Users who are told by e-mail, each once. */
function drawEmailUsers(rig: Rig, count: number): number[] {
  const drawn = new Set<number>();
  while (drawn.size < count) {
    const user_id = 1 + Math.floor(rig.random() * rig.users);
    if (user_id % 10 >= 3 && user_id % 10 <= 8) drawn.add(user_id);
  }
  return [...drawn];
}
