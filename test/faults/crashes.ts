import { setTimeout as sleep } from 'node:timers/promises';
import { DISPATCH_CONCURRENCY, type Instance, killInstance, startInstance } from './fleet.ts';
import type { Entry } from './oracle.ts';
import { drawMs, type Rig } from './rig.ts';

/** A page that was open when a process was killed, whoever had it. */
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
  open: OpenPage[];
};

/** Kills a process, and notes which pages were open then. */
export async function crash(rig: Rig, instance: Instance): Promise<Kill> {
  await killInstance(instance);
  const at = performance.now();
  const { rows } = await rig.sql.query<OpenPage & { now: Date }>(`
    select notification_id, number, first_user_id, last_user_id, attempt, now.now
    from (select clock_timestamp() as now) now left join pages on state = 'open'`);
  const open = rows.filter(({ notification_id }) => notification_id !== null);
  return { at, killedAt: rows[0]?.now ?? new Date(), open };
}

/** Kills one of the processes again and again, by chance which and when, and starts another in its place. */
export async function crashRepeatedly(
  rig: Rig,
  fleet: Instance[],
  { kills, seconds }: { kills: number; seconds: number },
) {
  const done: Kill[] = [];
  const gapMs = (seconds * 1_000) / kills;
  while (done.length < kills) {
    await sleep(drawMs(rig, gapMs * 0.3, gapMs * 1.3), undefined, { signal: rig.signal });
    const index = Math.floor(rig.random() * fleet.length);
    const victim = fleet[index];
    if (victim === undefined) throw new Error('There is nobody to kill.');
    done.push(await crash(rig, victim));
    rig.log(`${victim.name} killed, ${done.length} of ${kills}; ${done.at(-1)?.open.length} pages were open`);
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

/** Null when whoever took the page over was killed before the first message, or nobody of the page is told. */
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
      open.some(
        ({ notification_id, number, attempt }) =>
          notification_id === page.notification_id && number === page.number && attempt > page.attempt,
      ),
  );
  return isKilledAgain ? null : first.at - kill.at;
}
