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
 * The CTEs that end a notification before its audience is exhausted: no page of it is cut any more, and everyone not yet
 * covered by a page is counted as suppressed for this reason. Pages already claimed are finished by whoever holds them.
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
      where n.id = ${id}::uuid and n.status in ('scheduled', 'queued', 'dispatching', 'paused')
        and (${owner}::text is null or n.created_by = ${owner})
      for update
    ), written as (
      update notifications n set
        status = ${status}::notification_status,
        exhausted = true,
        completed_at = now(),
        targeted = n.targeted + case when n.everyone then ending.users else 0 end,
        suppressed = jsonb_set(n.suppressed, ${[status]}::text[],
          to_jsonb(coalesce((n.suppressed ->> ${status})::int, 0) + ending.users))
      from ending where n.id = ending.id
      returning n.id
    )`;
}
