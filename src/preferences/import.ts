import { type Actor, audited } from '../audit/record.ts';
import { type Database, insertPool } from '../database.ts';
import { type Preference, Prisma } from '../generated/client.ts';
import type { KeepText } from '../text-room.ts';

/**
 * Stores preferences, new or known, in one statement: all or none. They come in ascending order of their users, each once
 * and at least one. The statement is composed at once, so that PostgreSQL need not wait for it, and sent when it is its
 * turn. What is given may be forgotten once this returns.
 */
export function storePreferences(
  db: Database,
  preferences: Preference[],
  actor: Actor,
  { turn, keep }: { turn: Promise<void>; keep: KeepText },
): Promise<unknown> {
  const statement = composeUpsert(preferences, actor, keep);
  return turn.then(() => insertPool(db, statement));
}

/**
 * Where no preferences are known between the first and the last, a plain insert takes half the time of one that looks for
 * conflicts; another call that adds some of them meanwhile makes it fail. One list of numbers, as text, costs half of what
 * three lists cost; behind `select` it is read one by one.
 * Locks: the rows, in the order of their ids, whoever calls, so that calls wait for each other but never in a circle.
 */
function composeUpsert(preferences: Preference[], actor: Actor, keep: KeepText): Prisma.Sql {
  const first = preferences.at(0)?.user_id;
  const last = preferences.at(-1)?.user_id;
  const packed = keep(`{${preferences.map(pack).join()}}`);
  const outcome = `${preferences.length} stored`;
  return Prisma.sql`
    with known as materialized (
      select exists (select from preferences where user_id between ${first}::int and ${last}::int) as found
    ), input as materialized (
      select ${packed}::text::bigint[] as packed
    ), added as (
      insert into preferences (user_id, email_enabled, sms_enabled)
      select ${UNPACKED} from (select unnest(packed) as given from known, input where not found) one
    ), upserted as (
      insert into preferences (user_id, email_enabled, sms_enabled)
      select ${UNPACKED} from (select unnest(packed) as given from known, input where found) one
      on conflict (user_id) do update set email_enabled = excluded.email_enabled, sms_enabled = excluded.sms_enabled
    ), written as (select), ${audited(actor, { action: 'preference.import', object: 'preferences', outcome })}
    select from written`;
}

/** Beyond 32 bits, where JavaScript's own shifts end. */
const pack = ({ user_id, email_enabled, sms_enabled }: Preference) =>
  user_id * 4 + Number(email_enabled) + 2 * Number(sms_enabled);

const UNPACKED = Prisma.sql`(given >> 2)::int, given & 1 <> 0, given & 2 <> 0`;
