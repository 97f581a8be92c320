import { type Actor, audited } from '../audit/record.ts';
import type { Database } from '../database.ts';
import { Prisma } from '../generated/client.ts';

/** Whose notifications are in reach: those of one principal, or with null everyone's. */
export type Owner = string | null;

/**
 * Cancels a notification within reach, and records who did.
 *
 * @returns whether there was something to end.
 */
export async function cancelRunning(db: Database, id: string, owner: Owner, actor: Actor): Promise<boolean> {
  const record = audited(actor, { action: 'notification.cancel', object: `notifications/${id}`, outcome: 'canceled' });
  const ended = await db.$queryRaw<unknown[]>`
    with ${ending(id, owner, 'canceled')}, ${record} select 1 as ended from written`;
  return ended.length === 1;
}

/**
 * Ends a notification whose time is up.
 *
 * @returns whether there was something to end.
 */
export async function expireRunning(db: Database, id: string): Promise<boolean> {
  const ended = await db.$queryRaw<unknown[]>`with ${ending(id, null, 'expired')} select 1 as ended from written`;
  return ended.length === 1;
}

/**
 * Pauses a notification within reach, and records who did. It waits in the queue for the time it expires, if any; what is
 * exhausted has no more pages to cut, but those given back by a process that left wait, too.
 *
 * @returns whether there was something to pause.
 */
export async function pauseRunning(db: Database, id: string, owner: Owner, actor: Actor): Promise<boolean> {
  const record = audited(actor, { action: 'notification.pause', object: `notifications/${id}`, outcome: 'paused' });
  const paused = await db.$queryRaw<unknown[]>`
    with written as (
      update notifications set status = 'paused', waiting_since = coalesce(expires_at, ${NEVER}::timestamptz)
      where ${within(id, owner)} and status in ('scheduled', 'queued', 'dispatching')
      returning id
    ), ${record} select 1 as paused from written`;
  return paused.length === 1;
}

/**
 * Resumes a paused notification within reach, and records who did. It is as it was, at the end of the queue.
 *
 * @returns whether there was something to resume.
 */
export async function resumePaused(db: Database, id: string, owner: Owner, actor: Actor): Promise<boolean> {
  const record = audited(actor, { action: 'notification.resume', object: `notifications/${id}`, outcome: 'resumed' });
  const resumed = await db.$queryRaw<unknown[]>`
    with written as (
      update notifications set
        status = case when started_at is not null then 'dispatching'
          when send_at > now() then 'scheduled' else 'queued' end::notification_status,
        waiting_since = greatest(now(), send_at),
        recent_users = 0, recent_since = case when open_pages > 0 then now() end
      where ${within(id, owner)} and status = 'paused'
      returning id
    ), ${record} select 1 as resumed from written`;
  return resumed.length === 1;
}

/** Later than any time a caller may name. PostgreSQL's `infinity` would be no date to its clients. */
const NEVER = '9999-01-01T00:00:00Z';

/** SQL that holds for one notification, if it is within reach. */
export const within = (id: string, owner: Owner) =>
  Prisma.sql`id = ${id}::uuid and (${owner}::text is null or created_by = ${owner})`;

/**
 * The CTEs that end a notification before its audience is exhausted: no page of it is cut any more, and everyone not yet
 * covered by a page, or whom a retry has yet to come to, is counted as suppressed for this reason. Pages already claimed are
 * finished by whoever holds them.
 * `written` has a row unless it is missing, out of reach, or has ended already.
 * Lock: the notification's row, so that the count starts where the last cut ended. Counting ten million remaining users
 * is an index-only scan of about a second.
 */
function ending(id: string, owner: Owner, status: 'canceled' | 'expired'): Prisma.Sql {
  return Prisma.sql`ending as (
      select n.id, n.everyone, case when n.exhausted then 0 when n.everyone
        then (select count(*)::int from users u where u.user_id > n.cursor)
        else (select count(*)::int from unnest(n.user_ids) as a(user_id) where a.user_id > n.cursor) end as users
      from notifications n
      where ${within(id, owner)} and n.status in ('scheduled', 'queued', 'dispatching', 'paused')
      for update
    ), written as (
      update notifications n set
        status = ${status}::notification_status,
        exhausted = true,
        completed_at = now(),
        targeted = n.targeted + case when n.everyone then ending.users else 0 end,
        suppressed = jsonb_set(n.suppressed, ${[status]}::text[],
          to_jsonb(coalesce((n.suppressed ->> ${status})::int, 0) + ending.users + n.to_retry)),
        to_retry = 0
      from ending where n.id = ending.id
      returning n.id
    )`;
}
