import type { Database } from '../database.ts';

/**
 * Ends a notification before its audience is exhausted: no page of it is cut any more, and everyone not yet covered by a
 * page is counted as suppressed for this reason. Pages already claimed are finished by whoever holds them.
 * Lock: the notification's row, so that the count starts where the last cut ended. Counting ten million remaining users
 * is an index-only scan of about a second.
 *
 * @returns whether there was something to end: false when it is missing or has ended already.
 */
export async function endNotification(db: Database, id: string, status: 'canceled' | 'expired'): Promise<boolean> {
  const ended = await db.$executeRaw`
    with ending as (
      select n.id, n.everyone, case when n.exhausted then 0 when n.everyone
        then (select count(*)::int from users u where u.user_id > n.cursor)
        else (select count(*)::int from unnest(n.user_ids) as a(user_id) where a.user_id > n.cursor) end as users
      from notifications n
      where n.id = ${id}::uuid and n.status in ('scheduled', 'queued', 'dispatching', 'paused')
      for update
    )
    update notifications n set
      status = ${status}::notification_status,
      exhausted = true,
      completed_at = now(),
      targeted = n.targeted + case when n.everyone then ending.users else 0 end,
      suppressed = jsonb_set(n.suppressed, ${[status]}::text[], to_jsonb(coalesce((n.suppressed ->> ${status})::int, 0) + ending.users))
    from ending where n.id = ending.id`;
  return ended === 1;
}
