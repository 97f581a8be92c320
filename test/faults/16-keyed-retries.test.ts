import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { closeBooks } from './books.ts';
import { notifySurely, untilCompleted } from './client.ts';
import { duplicatesOf } from './crashes.ts';
import { type Instance, killInstance, startFleet, startInstance } from './fleet.ts';
import { drawMs, type Rig, until } from './rig.ts';
import { describeRow } from './row.ts';

/** Requests at a time. */
const CALLERS = 16;
/** As long as a few kills take, each with the start of another process. */
const TURN_TIMEOUT_MS = 60_000;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 400, short: 120 } };

describeRow({ number: 16, fault: 'the API killed while keyed requests are repeated', ...size }, async (rig) => {
  const [requests, kills] = rig.isShort ? [200, 3] : [1_000, 20];
  const fleet: Instance[] = await startFleet(rig, ['a', 'b']);
  const ids = new Map<string, Set<string>>();
  const limit = pLimit(CALLERS);
  let killed = 0;
  const all = Array.from({ length: requests }, (_, index) =>
    limit(async () => {
      // They are spread over all the kills.
      await until(rig, 'its turn', TURN_TIMEOUT_MS, () => killed >= Math.floor((index / requests) * kills));
      const [key, user_id] = [`request-${index}`, 1 + (index % rig.users)];
      // Everybody asks twice, as whoever has not heard the answer would.
      for (let time = 1; time <= 2; time++) {
        const id = await notifySurely(rig, () => fleet, key, user_id);
        ids.set(key, (ids.get(key) ?? new Set()).add(id));
      }
    }),
  );
  while (killed < kills) {
    await sleep(drawMs(rig, 50, 400), undefined, { signal: rig.signal });
    await killOne(rig, fleet);
    killed += 1;
    rig.log(`killed, ${killed} of ${kills}; ${ids.size} of ${requests} accepted`);
  }
  await Promise.all(all);
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const { rows } = await rig.sql.query<{ keys: number; notifications: number }>(
    'select count(distinct idempotency_key)::int as keys, count(*)::int as notifications from notifications',
  );
  return {
    ...{ books, duplicatesMax: duplicatesOf(rig, kills) },
    need: {
      'every request is accepted': ids.size === requests,
      'each under one id': [...ids.values()].every((known) => known.size === 1),
      'and stored once': rows[0]?.keys === requests && rows[0].notifications === requests,
    },
    figures: { requests, kills },
  };
});

async function killOne(rig: Rig, fleet: Instance[]): Promise<void> {
  const index = Math.floor(rig.random() * fleet.length);
  const victim = fleet[index];
  if (victim === undefined) throw new Error('There is nobody to kill.');
  await killInstance(victim);
  fleet[index] = await startInstance(rig, victim.name);
}
