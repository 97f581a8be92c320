import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import type { User } from '../generated/client.ts';

/** Users in the order of their ids, from behind `cursor`. */
export function listUsers(db: Database, { limit, cursor }: { limit: number; cursor: number }): Promise<User[]> {
  return db.user.findMany({ where: { user_id: { gt: cursor } }, orderBy: { user_id: 'asc' }, take: limit });
}

/** @throws ServiceError user_not_found */
export async function getUser(db: Database, userId: number): Promise<User> {
  const user = await db.user.findUnique({ where: { user_id: userId } });
  if (user === null) throw new ServiceError('user_not_found');
  return user;
}

/** Stores a user, new or known. `created` says which. One statement, so that concurrent calls cannot collide. */
export async function putUser(
  db: Database,
  { user_id, email, phone }: User,
): Promise<{ user: User; created: boolean }> {
  const [row] = await db.$queryRaw<{ created: boolean }[]>`
    insert into users (user_id, email, phone) values (${user_id}, ${email}, ${phone})
    on conflict (user_id) do update set email = excluded.email, phone = excluded.phone
    returning xmax = 0 as created`;
  return { user: { user_id, email, phone }, created: row?.created === true };
}

/**
 * Erases a user together with their preferences, in one statement.
 *
 * @throws ServiceError user_not_found
 */
export async function eraseUser(db: Database, userId: number): Promise<void> {
  const [row] = await db.$queryRaw<{ erased: number }[]>`
    with erased as (
      delete from users where user_id = ${userId} returning user_id
    ), forgotten as (
      delete from preferences using erased where preferences.user_id = erased.user_id
    )
    select count(*)::int as erased from erased`;
  if (row?.erased !== 1) throw new ServiceError('user_not_found');
}
