import { type Actor, audited } from '../audit/record.ts';
import { type Database, insertPool } from '../database.ts';
import { Prisma, type User } from '../generated/client.ts';
import type { KeepText } from '../text-room.ts';

/**
 * Stores users, new or known, in one statement: all or none. They come in ascending order, each once and at least one. The
 * statement is composed at once, so that PostgreSQL need not wait for it, and sent when it is its turn. What is given may be
 * forgotten once this returns.
 */
export function storeUsers(
  db: Database,
  users: User[],
  actor: Actor,
  { turn, keep }: { turn: Promise<void>; keep: KeepText },
): Promise<unknown> {
  const statement = composeUpsert(users, actor, keep);
  return turn.then(() => insertPool(db, statement));
}

/**
 * Where nobody is known between the first and the last, a plain insert takes half the time of one that looks for conflicts;
 * another call that adds one of them meanwhile makes it fail.
 * Lists travel as text, which costs least. No address that is accepted has a comma; one that had would be refused here, as
 * the lists would differ in length.
 * Locks: the rows, in the order of their ids, whoever calls, so that calls wait for each other but never in a circle.
 */
function composeUpsert(users: User[], actor: Actor, keep: KeepText): Prisma.Sql {
  const first = users.at(0)?.user_id;
  const last = users.at(-1)?.user_id;
  const ids = keep(`{${users.map(({ user_id }) => user_id).join()}}`);
  const emails = keep(users.map(({ email }) => email ?? '').join());
  const phones = keep(users.map(({ phone }) => phone ?? '').join());
  const outcome = `${users.length} stored`;
  return Prisma.sql`
    with known as materialized (
      select exists (select from users where user_id between ${first}::int and ${last}::int) as found
    ), input as materialized (
      select ${ids}::text::int[] as ids, string_to_array(${emails}::text, ',', '') as emails,
        string_to_array(${phones}::text, ',', '') as phones
    ), added as (
      insert into users (user_id, email, phone)
      select unnest(ids), unnest(emails), unnest(phones) from known, input where not found
    ), upserted as (
      insert into users (user_id, email, phone)
      select unnest(ids), unnest(emails), unnest(phones) from known, input where found
      on conflict (user_id) do update set email = excluded.email, phone = excluded.phone
    ), written as (select), ${audited(actor, { action: 'user.import', object: 'users', outcome })}
    select from written`;
}
