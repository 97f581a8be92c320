import { setTimeout as sleep } from 'node:timers/promises';
import { pick } from '../support/random.ts';
import { keepBroadcasting } from './client.ts';
import { DISPATCH_CONCURRENCY, type Instance, killInstance, startInstance } from './fleet.ts';
import type { Entry } from './oracle.ts';
import { drawMs, type Rig } from './rig.ts';

/** A page that a process had when it was killed. */
type OpenPage = {
  notification_id: string;
  number: number;
  first_user_id: number;
  last_user_id: number;
  attempt: number;
};

export type Kill = {
  /** In ms of `performance.now()`. */
  at: number;
  /** The same by the database's clock. */
  killedAt: Date;
  /** What was left behind. */
  open: OpenPage[];
};

/** Kills a process, and notes which pages it had. */
export async function crash(rig: Rig, instance: Instance): Promise<Kill> {
  await killInstance(instance);
  const at = performance.now();
  const { rows } = await rig.sql.query<OpenPage & { now: Date }>(LEFT_BEHIND, [instance.name, instance.startedAt]);
  const open = rows.filter(({ notification_id }) => notification_id !== null);
  return { at, killedAt: rows[0]?.now ?? new Date(), open };
}

const LEFT_BEHIND = `
  select notification_id, number, first_user_id, last_user_id, attempt, now.now
  from (select clock_timestamp() as now) now left join (
    select p.* from pages p join witness w on w.event = 'claimed'
      and (w.notification_id, w.page, w.attempt) = (p.notification_id, p.number, p.attempt)
    where p.state = 'open' and w.instance = $1 and w.at >= $2
  ) held on true`;

/** Kills one of the processes of a broadcast again and again, by chance which and when, and starts another in its place. */
export async function crashRepeatedly(
  rig: Rig,
  fleet: Instance[],
  { kills, seconds }: { kills: number; seconds: number },
) {
  const done: Kill[] = [];
  const gapMs = (seconds * 1_000) / kills;
  while (done.length < kills) {
    await keepBroadcasting(rig, pick(rig.random, fleet));
    await sleep(drawMs(rig, gapMs * 0.3, gapMs * 1.3), undefined, { signal: rig.signal });
    const index = Math.floor(rig.random() * fleet.length);
    const victim = fleet[index];
    if (victim === undefined) throw new Error('There is nobody to kill.');
    done.push(await crash(rig, victim));
    rig.log(`${victim.name} killed, ${done.length} of ${kills}; ${done.at(-1)?.open.length} pages are left behind`);
    fleet[index] = await startInstance(rig, victim.name);
  }
  return done;
}

/** What a crash may double at most: everybody of the pages that the process had under way. */
export const duplicatesOf = ({ pageUsers }: Rig, kills: number) => kills * DISPATCH_CONCURRENCY * pageUsers;

/** For each page that was left behind, the time from the kill to its first message after that, in ms. */
export async function measureResumes(rig: Rig, kills: Kill[]): Promise<number[]> {
  const { rows } = await rig.sql.query<{ page: string }>(
    `select notification_id || '/' || page || '/' || attempt as page from witness where event = 'taken over'`,
  );
  const takenOver = new Set(rows.map(({ page }) => page));
  return kills.flatMap((kill, index) =>
    kill.open
      .filter(({ notification_id, number, attempt }) => takenOver.has(`${notification_id}/${number}/${attempt + 1}`))
      .map((page) => measureResume(rig.oracle.journal, page, kill, kills.slice(index + 1)))
      .filter((ms) => ms !== null),
  );
}

/** Null when whoever took the page over was killed before its first message, or nobody of the page is told. */
function measureResume(journal: Entry[], page: OpenPage, kill: Kill, later: Kill[]): number | null {
  const since = kill.killedAt.toISOString();
  const first = journal.find(
    ({ notification_id, user_id, claimed_at }) =>
      claimed_at >= since &&
      notification_id === page.notification_id &&
      user_id >= page.first_user_id &&
      user_id <= page.last_user_id,
  );
  if (first === undefined) return null;
  const isKilledAgain = later.some(
    ({ at, open }) =>
      at < first.at &&
      open.some(({ notification_id, number }) => notification_id === page.notification_id && number === page.number),
  );
  return isKilledAgain ? null : first.at - kill.at;
}
