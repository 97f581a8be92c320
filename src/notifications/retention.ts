import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Database, isDatabaseUnavailable } from '../database.ts';
import { Prisma } from '../generated/client.ts';
import { claimJob, finishJob, type JobRun, releaseJob, renewJob } from '../jobs.ts';

type RetentionDeps = {
  db: Database;
  log: Logger;
  /** How long a notification is kept after its end. */
  retentionDays: number;
};

export type Retention = {
  /** Ends after the batch under way, and gives the job back if it has it. */
  stop: () => Promise<void>;
};

/** The row of `jobs`. */
const JOB = 'retention';
/** From the end of one run to the next. */
const INTERVAL_SECONDS = 24 * 60 * 60;
/** How often a process looks whether the job is due, or was left behind: one statement, and a day is not at stake. */
const LOOK_INTERVAL_MS = 60_000;
/**
 * Removed in one statement, as are so many notifications: measured on two cores 5 ms for both, and 0.3 s where every manifest
 * and every text is as large as can be, as each is a hundred more rows then, out of line.
 */
const BATCH_PAGES = 200;
const BATCH_NOTIFICATIONS = 200;
/** Between batches: ten times what most take, so that dispatch hardly notices; 100,000 small ones go in half a minute. */
const BATCH_PAUSE_MS = 50;

/** Looks at once, and then about every minute, whether old notifications are to be removed, until stopped. */
export function runRetention(deps: RetentionDeps): Retention {
  const stopping = new AbortController();
  const done = loop(deps, stopping.signal);
  return {
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

/** Jitter spreads the looks of many processes. Errors are logged and waited out; a run that they end is taken over. */
async function loop(deps: RetentionDeps, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    try {
      await removeWhenDue(deps, stopping);
    } catch (error) {
      // A database that is away is said again by every process every minute: without a stack each time.
      const cause = isDatabaseUnavailable(error) ? { reason: (error as Error).message } : { err: error };
      deps.log.error(cause, 'retention failed; it will be tried again');
    }
    await pause(LOOK_INTERVAL_MS * (0.5 + Math.random()), stopping);
  }
}

/** What a batch has removed. */
export type Removed = { notifications: number; pages: number };

/**
 * Removes what is old, batch after batch, if that is due and no other process does it; until nothing is left, another
 * process has taken over, or `stopping` is aborted.
 */
export async function removeWhenDue(deps: RetentionDeps, stopping: AbortSignal): Promise<void> {
  const { db, log } = deps;
  const run: JobRun = { name: JOB, holder: randomUUID() };
  if (!(await claimJob(db, run))) return;
  const total: Removed = { notifications: 0, pages: 0 };
  while (!stopping.aborted) {
    if (!(await renewJob(db, run))) return log.warn(total, 'retention taken over by another process');
    const removed = await removeNext(deps);
    total.notifications += removed.notifications;
    total.pages += removed.pages;
    if (removed.notifications + removed.pages === 0) {
      await finishJob(db, run, INTERVAL_SECONDS);
      return log.info(total, 'old notifications removed');
    }
    await pause(BATCH_PAUSE_MS, stopping);
  }
  await releaseJob(db, run);
  log.info(total, 'retention given back; another process may go on');
}

/** Woken early by the signal, which the caller looks at next. */
const pause = (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }).catch(() => undefined);

/**
 * Removes one batch of the oldest notifications: pages of theirs first, then those that have no pages left, so that none
 * goes by cascade, whose number has no bound. Zeros: nothing is old.
 */
export async function removeNext({ db, retentionDays }: Omit<RetentionDeps, 'log'>): Promise<Removed> {
  const pages = await removePages(db, retentionDays);
  return { pages, notifications: await removeNotifications(db, retentionDays) };
}

/**
 * Pages of a notification go in the order of their ranges, so that who is reading its list of messages is ahead of this.
 * Plan: the partial index notifications_ended, then the primary key of pages, up to the limit; rows deleted by their place.
 * Lock: the pages. Nobody else locks one that is settled, but a run that was taken over, for which this does not wait.
 */
function removePages(db: Database, retentionDays: number): Promise<number> {
  return db.$executeRaw`
    delete from pages where ctid = any(array(
      select p.ctid from (${oldest(retentionDays)}) n cross join lateral (
        select ctid from pages where notification_id = n.id order by number limit ${BATCH_PAGES} for update skip locked
      ) p
      limit ${BATCH_PAGES}
    ))`;
}

/** Plan: as above. Lock: the notifications; for one that somebody else has locked this does not wait. */
function removeNotifications(db: Database, retentionDays: number): Promise<number> {
  return db.$executeRaw`
    delete from notifications where ctid = any(array(
      select n.ctid from (${oldest(retentionDays)} for update skip locked) n
      where not exists (select from pages where notification_id = n.id)
    ))`;
}

/** Not those that ended early and still have a page under way. */
const oldest = (retentionDays: number) => Prisma.sql`
  select id, ctid from notifications
  where completed_at < now() - make_interval(days => ${retentionDays}) and open_pages = 0
  order by completed_at limit ${BATCH_NOTIFICATIONS}`;
