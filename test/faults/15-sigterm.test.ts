import { setTimeout as sleep } from 'node:timers/promises';
import { closeBooks } from './books.ts';
import { keepBroadcasting, notify, untilCompleted } from './client.ts';
import { type Instance, startFleet, startInstance } from './fleet.ts';
import { slowDown } from './plans.ts';
import { drawMs, type Rig } from './rig.ts';
import { describeRow } from './row.ts';

const STOP_MS_MAX = 10_000;
/** Pages take less than a process may take to stop. */
const CALL_MS = 200;
/** Who loads the service: so many at a time, each with a pause between two requests. */
const CALLERS = 8;
const CALL_PAUSE_MS = 50;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 600, short: 120 } };

describeRow({ number: 15, fault: 'SIGTERM under load, again and again', ...size }, async (rig) => {
  const stops = rig.isShort ? 3 : 20;
  const fleet: Instance[] = await startFleet(rig, ['a', 'b']);
  slowDown(rig, CALL_MS);
  const over = new AbortController();
  const dropped: string[] = [];
  const callers = Promise.all(
    Array.from({ length: CALLERS }, (_, n) => load(rig, { fleet, over: over.signal, name: `caller-${n}`, dropped })),
  );

  const ends: { code: number | null; ms: number }[] = [];
  for (let count = 0; count < stops; count++) {
    const [oldest] = fleet;
    if (oldest === undefined) throw new Error('There is nobody to stop.');
    await keepBroadcasting(rig, oldest);
    await sleep(drawMs(rig, 200, 800));
    // Whoever balances the load is told of the other one when this one is gone: until then both get requests.
    const replacement = await startInstance(rig, oldest.name);
    fleet.push(replacement);
    const at = performance.now();
    oldest.process.kill('SIGTERM');
    const { code } = await oldest.process.exited;
    ends.push({ code, ms: performance.now() - at });
    fleet.splice(fleet.indexOf(oldest), 1);
    rig.log(`${oldest.name} ended with ${code} after ${Math.round(ends.at(-1)?.ms ?? 0)} ms, ${count + 1} of ${stops}`);
  }
  over.abort();
  await callers;
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const slowest = Math.max(...ends.map(({ ms }) => ms));
  return {
    books,
    need: {
      'every stop ends with 0': ends.every(({ code }) => code === 0),
      'every stop takes at most 10 s': slowest <= STOP_MS_MAX,
      'no request is dropped': dropped.length === 0,
    },
    figures: {
      stops,
      'slowest stop s': (slowest / 1_000).toFixed(1),
      requests: rig.promised.size,
      dropped: [...new Set(dropped)].join(', ') || 'none',
    },
  };
});

type Load = { fleet: Instance[]; over: AbortSignal; name: string; dropped: string[] };

/** Notifies one user after the other until it is over, of one process after the other. */
async function load(rig: Rig, { fleet, over, name, dropped }: Load): Promise<void> {
  for (let count = 1; !over.aborted && !rig.signal.aborted; count++) {
    const user_id = 1 + Math.floor(rig.random() * rig.users);
    const instance = fleet[count % fleet.length];
    if (instance === undefined) continue;
    const { status, error, body } = await notify(instance, `${name}-${count}`, user_id);
    if (status === 202) rig.promised.set(String(body['id']), [user_id]);
    // A connection that is refused was never accepted: the caller takes another process.
    else if (error !== 'ECONNREFUSED') dropped.push(`${status ?? error}`);
    await sleep(CALL_PAUSE_MS);
  }
}
