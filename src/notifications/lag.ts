import type { Database } from '../database.ts';

/** How far dispatch is behind, in seconds; zeros when nothing is due. */
export type Lag = {
  /** The age of the oldest notification that is due and not finished; those paused do not count. */
  oldest: number;
  /** How long the one that has waited longest has waited for its next page. */
  waiting: number;
};

/** Running notifications that are looked at: the oldest, as their ids are in the order of time. */
const RUNNING_MAX = 1_000;

/**
 * By the database's clock.
 * Plan: the first row of the partial index notifications_due, which gives the longest wait, and which is due since then
 * unless it is running; and the running ones by the index of status and id, to the limit.
 */
export async function readLag(db: Database): Promise<Lag> {
  const [lag] = await db.$queryRaw<Lag[]>`
    with due as (
      select waiting_since from notifications
      where not exhausted and status in ('scheduled', 'queued', 'dispatching', 'paused') and waiting_since <= now()
      order by waiting_since limit 1
    ), running as (
      select greatest(created_at, send_at) as since from notifications
      where status = 'dispatching' order by id limit ${RUNNING_MAX}
    )
    select extract(epoch from now() - coalesce((select waiting_since from due), now()))::float8 as waiting,
      extract(epoch from now() - least((select waiting_since from due), (select min(since) from running), now()))::float8 as oldest`;
  return lag ?? { oldest: 0, waiting: 0 };
}
