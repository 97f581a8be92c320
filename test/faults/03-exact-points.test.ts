import { closeBooks } from './books.ts';
import { notifySurely, untilCompleted } from './client.ts';
import { crash, duplicatesOf, type Kill, measureResumes } from './crashes.ts';
import { type Instance, startInstance } from './fleet.ts';
import { slowDown } from './plans.ts';
import { type DatabaseProxy, startProxy, type Treatment } from './proxy.ts';
import { type Rig, until } from './rig.ts';
import { describeRow } from './row.ts';
import { STATEMENTS } from './statements.ts';

const RESUME_MS_MAX = 15_000;
/** For a point to be reached once a broadcast has begun. */
const REACH_TIMEOUT_MS = 120_000;
const CALL_MS = 100;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 900, short: 200 } };

/** The victim, before whose database the proxy is; `reach` is called when it is where it has to die. */
type Trap = { rig: Rig; proxy: DatabaseProxy; reach: () => void };

/** The moments between two steps of a page's way, each by what is withheld there. */
const POINTS: Record<string, (trap: Trap) => void> = {
  'stored, not answered': ({ proxy, reach }) => proxy.treat(once(STATEMENTS.insert, { keepReply: reach })),
  claimed: ({ proxy, reach }) => proxy.treat(once(STATEMENTS.cut, { keepReply: reach })),
  'resolved, not published': ({ rig, reach }) =>
    rig.oracle.plan(({ instance }) => {
      if (instance !== VICTIM) return {};
      reach();
      return { connection: 'hang' };
    }),
  'published, not settled': ({ proxy, reach }) => proxy.treat(once(STATEMENTS.settle, { keep: reach })),
  settled: ({ proxy, reach }) => proxy.treat(once(STATEMENTS.settle, { keepReply: reach })),
  'all published, the last page not settled': (trap) => trap.proxy.treat(keepLast(trap)),
};

const VICTIM = 'a';

describeRow({ number: 3, fault: 'killed at each exact point of a page', ...size }, async (rig) => {
  const proxy = await startProxy(rig.databaseUrl);
  rig.atEnd(proxy.stop);
  const fleet = [await startVictim(rig, proxy), await startInstance(rig, 'b', lease(rig))];
  const kills: Kill[] = [];
  for (const [point, spring] of Object.entries(POINTS)) {
    kills.push(await killAt(rig, { fleet, proxy, spring }));
    rig.log(`killed: ${point}`);
    await untilCompleted(rig);
  }

  const books = await closeBooks(rig);
  const resumes = await measureResumes(rig, kills);
  const worst = Math.max(0, ...resumes);
  return {
    ...{ books, resumeMs: worst, duplicatesMax: duplicatesOf(rig, kills.length) },
    need: {
      'pages were left behind': resumes.length > 0,
      'every one goes on within 15 s': worst <= RESUME_MS_MAX,
    },
    figures: { points: kills.length, 'pages taken over': resumes.length },
  };
});

/** In short, a lease that soon runs out: a takeover has a row of its own. */
const lease = ({ isShort }: Rig): Record<string, string> => (isShort ? { LEASE_SECONDS: '3' } : {});

const startVictim = (rig: Rig, { url }: DatabaseProxy) =>
  startInstance(rig, VICTIM, { ...lease(rig), DATABASE_URL: url });

type Attempt = { fleet: Instance[]; proxy: DatabaseProxy; spring: (trap: Trap) => void };

/** Notifies everyone by the victim, kills it where the trap says, and starts it again. */
async function killAt(rig: Rig, { fleet, proxy, spring }: Attempt): Promise<Kill> {
  const [victim, other] = fleet;
  if (victim === undefined || other === undefined) throw new Error('There have to be two.');
  let isReached = false;
  // Slow enough for both to get pages. A trap may have a plan of its own.
  slowDown(rig, CALL_MS);
  spring({ rig, proxy, reach: () => (isReached = true) });
  // When the victim has died of it, the other one is asked under the same key.
  const accepted = notifySurely(rig, () => (isReached ? [other] : [victim]), `broadcast-${rig.promised.size}`, null);
  await until(rig, 'the point to be reached', REACH_TIMEOUT_MS, () => isReached);
  const kill = await crash(rig, victim);
  proxy.treat(() => 'pass');
  slowDown(rig, 0);
  await accepted;
  fleet[0] = await startVictim(rig, proxy);
  return kill;
}

/** Treats the first statement of a kind so, and lets everything else pass. */
function once(kind: RegExp, treatment: Treatment): (sql: string) => Treatment {
  let isDone = false;
  return (sql) => {
    if (isDone || !kind.test(sql)) return 'pass';
    isDone = true;
    return treatment;
  };
}

/** Keeps the first settlement of the victim until all other pages are settled, its own too, and then for good. */
function keepLast({ rig, reach }: Trap): (sql: string) => Promise<Treatment> {
  let isHeld = false;
  return async (sql) => {
    if (isHeld || !STATEMENTS.settle.test(sql)) return 'pass';
    isHeld = true;
    await until(rig, 'the page to be the last one', REACH_TIMEOUT_MS, async () => {
      const { rows } = await rig.sql.query(
        `select from notifications where everyone and exhausted and open_pages = 1 and status = 'dispatching'`,
      );
      return rows.length === 1;
    });
    return { keep: reach };
  };
}
