import { type Actor, audited } from '../audit/record.ts';
import type { Database } from '../database.ts';
import { Prisma } from '../generated/client.ts';
import { type Owner, within } from './lifecycle.ts';
import { CLAIMED, type ClaimedPage, leaseEnd, RETRYING } from './pages.ts';

/**
 * Has the users whom SNS refused tried again, once: those of a completed notification within reach, whose time is not up;
 * and records who did. They are pending from then on, and the notification is back in the queue, at its end; its pages are
 * reopened one by one as their turn comes, so that the largest broadcast takes no longer here than any other notification.
 *
 * @returns whether there was something to retry, and whether the notification's time is up.
 */
export async function retryFailed(
  db: Database,
  id: string,
  owner: Owner,
  actor: Actor,
): Promise<{ changed: boolean; isOver: boolean }> {
  const record = audited(actor, {
    ...{ action: 'notification.retry', object: `notifications/${id}` },
    outcome: Prisma.sql`to_retry || ' to retry'`,
  });
  const [row] = await db.$queryRaw<{ changed: boolean; isOver: boolean }[]>`
    with target as (
      select id, coalesce(expires_at <= now(), false) as over from notifications where ${within(id, owner)} for update
    ), written as (
      update notifications n set
        status = 'dispatching', completed_at = null, waiting_since = now(),
        to_retry = n.failed, failed = 0, retry_cursor = 0,
        recent_users = 0, recent_since = now()
      from target
      where n.id = target.id and n.status = 'completed' and n.failed > 0 and not target.over
      returning n.id, n.to_retry
    ), ${record}
    select exists (select from written) as changed, over as "isOver" from target`;
  return row ?? { changed: false, isOver: false };
}

/**
 * Reopens the next page of a notification that is being retried, for those of its users whom SNS refused, and claims it.
 * Null: it is paused or has ended meanwhile, or rivals have reopened the rest.
 * Plan: the partial index pages_failed from the cursor on gives one row (a plain join would sort all that are left).
 * Lock: the notification's row, so that it is claimed before a pause or cancel is answered, or not at all; then the page,
 * which nobody else has, but retention, for which this does not wait.
 */
export async function reopenPage(db: Database, id: string, leaseSeconds: number): Promise<ClaimedPage | null> {
  const [page] = await db.$queryRaw<ClaimedPage[]>`
    with due as (
      select id, retry_cursor from notifications
      where id = ${id}::uuid and to_retry > 0 and exhausted and status = 'dispatching'
      for update
    ), next as (
      select failed.* from due cross join lateral (
        select notification_id, number from pages
        where notification_id = due.id and last_user_id > due.retry_cursor and failures <> '[]' and state = 'settled'
        order by last_user_id
        limit 1
        for update skip locked
      ) failed
    ), p as (
      update pages p set state = 'open', attempt = p.attempt + 1, lease_until = ${leaseEnd(leaseSeconds)}
      from next where p.notification_id = next.notification_id and p.number = next.number
      returning p.*
    ), n as (
      update notifications n set
        retry_cursor = p.last_user_id,
        to_retry = n.to_retry - jsonb_array_length(p.failures),
        open_pages = n.open_pages + 1
      from p where n.id = p.notification_id
      returning n.*
    )
    select ${CLAIMED}, ${RETRYING} as retrying, null as withdrawn from p join n on n.id = p.notification_id`;
  return page ?? null;
}

/**
 * Ends a retry that has come to no page although it should: retention has removed pages while the notification was taken up
 * again. Their users count as failed, as before. Otherwise it changes nothing.
 * Two statements, as the second has to see what was committed while the first waited for the row.
 */
export async function endLostRetry(db: Database, id: string): Promise<void> {
  const lock = db.$executeRaw`select from notifications where id = ${id}::uuid for update`;
  const end = db.$executeRaw`
    update notifications n set
      failed = n.failed + n.to_retry, to_retry = 0,
      status = case when n.open_pages = 0 then 'completed' else n.status end,
      completed_at = case when n.open_pages = 0 then now() end
    where n.id = ${id}::uuid and n.to_retry > 0 and n.exhausted and n.status = 'dispatching' and not exists (
      select from pages p
      where p.notification_id = n.id and p.failures <> '[]' and p.state = 'settled' and p.last_user_id > n.retry_cursor
    )`;
  await db.$transaction([lock, end]);
}
