import { type Actor, audited } from '../audit/record.ts';
import { coalesceReads } from '../coalesced-reads.ts';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { Prisma, type User } from '../generated/client.ts';

/** Users in the order of their ids, from behind `cursor`. */
export function listUsers(db: Database, { limit, cursor }: { limit: number; cursor: number }): Promise<User[]> {
  return db.user.findMany({ where: { user_id: { gt: cursor } }, orderBy: { user_id: 'asc' }, take: limit });
}

/** Reads one, together with others that are asked for at the same time. The function throws ServiceError user_not_found. */
export function createUserReader(db: Database): (userId: number) => Promise<User> {
  const read = coalesceReads<User>(db, Prisma.sql`select user_id, email, phone from users`);
  return async (userId) => {
    const user = await read(userId);
    if (user === null) throw new ServiceError('user_not_found');
    return user;
  };
}

/** Stores a user, new or known. `created` says which. One statement, so that concurrent calls cannot collide. */
export async function putUser(
  db: Database,
  { user_id, email, phone }: User,
  actor: Actor,
): Promise<{ user: User; created: boolean }> {
  const outcome = Prisma.sql`case when created then 'created' else 'replaced' end`;
  const [row] = await db.$queryRaw<{ created: boolean }[]>`
    with written as (
      insert into users (user_id, email, phone) values (${user_id}, ${email}, ${phone})
      on conflict (user_id) do update set email = excluded.email, phone = excluded.phone
      returning xmax = 0 as created
    ), ${audited(actor, { action: 'user.put', object: nameObject(user_id), outcome })}
    select created from written`;
  return { user: { user_id, email, phone }, created: row?.created === true };
}

/**
 * Erases a user together with their preferences, in one statement and under one audit entry. A refused call leaves none.
 *
 * @throws ServiceError user_not_found
 */
export async function eraseUser(db: Database, userId: number, actor: Actor): Promise<void> {
  const erased = await db.$queryRaw<unknown[]>`
    with written as (
      delete from users where user_id = ${userId} returning user_id
    ), forgotten as (
      delete from preferences using written where preferences.user_id = written.user_id
    ), ${audited(actor, { action: 'user.erase', object: nameObject(userId), outcome: 'erased' })}
    select user_id from written`;
  if (erased.length === 0) throw new ServiceError('user_not_found');
}

const nameObject = (userId: number) => `users/${userId}`;
