import type { Database } from '../database.ts';
import type { Owner } from './lifecycle.ts';
import { requireReachable } from './reach.ts';
import type { Failure } from './refusal.ts';

/** Which failures a list is to show: from behind the user `cursor`, of all or one user. */
type FailureQuery = { user_id?: number | undefined; limit: number; cursor: number };

/**
 * Whom SNS has refused for good, in the order of user ids. Those who are being retried are pending, and not among them;
 * nor are those whose retry was canceled, or expired, before it came to them.
 * Plan: the partial index pages_failed from behind the cursor on, in the order of the pages' ranges, to as many pages as it
 * can take: each has somebody, but for the one that the cursor is in.
 *
 * @throws ServiceError notification_not_found
 */
export async function listFailures(
  db: Database,
  id: string,
  owner: Owner,
  { user_id = 0, limit, cursor }: FailureQuery,
): Promise<Failure[]> {
  await requireReachable(db, id, owner);
  return db.$queryRaw<Failure[]>`
    select f.user_id, f.code, f.reason
    from notifications n
      cross join lateral (
        select last_user_id, failures from pages
        where notification_id = n.id and last_user_id > ${cursor} and failures <> '[]' and state = 'settled'
          and (n.retry_cursor is null or last_user_id <= n.retry_cursor)
          and (${user_id} = 0 or ${user_id} between first_user_id and last_user_id)
        order by last_user_id
        limit ${limit + 1}
      ) p
      cross join lateral jsonb_to_recordset(p.failures) as f(user_id int, code text, reason text)
    where n.id = ${id}::uuid and (${owner}::text is null or n.created_by = ${owner})
      and f.user_id > ${cursor} and (${user_id} = 0 or f.user_id = ${user_id})
    order by p.last_user_id, f.user_id
    limit ${limit}`;
}
