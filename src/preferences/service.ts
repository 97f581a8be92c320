import { type Actor, audited } from '../audit/record.ts';
import { coalesceReads } from '../coalesced-reads.ts';
import { type Database, queryPool } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { type Preference, Prisma } from '../generated/client.ts';

/** Whose preferences change; an absent channel stays as it is. */
type PreferenceChange = Pick<Preference, 'user_id'> & Partial<Preference>;

/** Preferences in the order of user ids, from behind `cursor`. */
export function listPreferences(
  db: Database,
  { limit, cursor }: { limit: number; cursor: number },
): Promise<Preference[]> {
  return db.preference.findMany({ where: { user_id: { gt: cursor } }, orderBy: { user_id: 'asc' }, take: limit });
}

/** Reads one, together with others that are asked for at the same time. The function throws ServiceError preference_not_found. */
export function createPreferenceReader(db: Database): (userId: number) => Promise<Preference> {
  const read = coalesceReads<Preference>(db, Prisma.sql`select user_id, email_enabled, sms_enabled from preferences`);
  return async (userId) => {
    const preference = await read(userId);
    if (preference === null) throw new ServiceError('preference_not_found');
    return preference;
  };
}

/**
 * Creates preferences. A refused call leaves no audit entry. Of concurrent calls one inserts, and the others find it done.
 *
 * @throws ServiceError preference_exists
 */
export async function createPreference(db: Database, preference: Preference, actor: Actor): Promise<Preference> {
  const { user_id, email_enabled, sms_enabled } = preference;
  const [row] = await db.$queryRaw<Preference[]>`
    with written as (
      insert into preferences (user_id, email_enabled, sms_enabled) values (${user_id}, ${email_enabled}, ${sms_enabled})
      on conflict (user_id) do nothing
      returning user_id, email_enabled, sms_enabled
    ), ${audited(actor, { action: 'preference.create', object: nameObject(user_id), outcome: 'created' })}
    select * from written`;
  if (row === undefined) throw new ServiceError('preference_exists');
  return row;
}

/** Stores preferences, new or known. `created` says which. One statement, so that concurrent calls cannot collide. */
export async function putPreference(
  db: Database,
  preference: Preference,
  actor: Actor,
): Promise<{ preference: Preference; created: boolean }> {
  const { user_id, email_enabled, sms_enabled } = preference;
  const outcome = Prisma.sql`case when created then 'created' else 'replaced' end`;
  const [row] = await db.$queryRaw<{ created: boolean }[]>`
    with written as (
      insert into preferences (user_id, email_enabled, sms_enabled) values (${user_id}, ${email_enabled}, ${sms_enabled})
      on conflict (user_id) do update set email_enabled = excluded.email_enabled, sms_enabled = excluded.sms_enabled
      returning xmax = 0 as created
    ), ${audited(actor, { action: 'preference.put', object: nameObject(user_id), outcome })}
    select created from written`;
  return { preference, created: row?.created === true };
}

/**
 * Changes the channels named and leaves the others. A refused call leaves no audit entry; one that names no channel, or
 * repeats what is stored, leaves one.
 * Lock and plan: the row, by its primary key.
 *
 * @throws ServiceError preference_not_found
 */
export async function patchPreference(
  db: Database,
  { user_id, email_enabled, sms_enabled }: PreferenceChange,
  actor: Actor,
): Promise<Preference> {
  const statement = Prisma.sql`
    with written as (
      update preferences set
        email_enabled = coalesce(${email_enabled ?? null}::boolean, email_enabled),
        sms_enabled = coalesce(${sms_enabled ?? null}::boolean, sms_enabled)
      where user_id = ${user_id}
      returning user_id, email_enabled, sms_enabled
    ), ${audited(actor, { action: 'preference.patch', object: nameObject(user_id), outcome: 'changed' })}
    select * from written`;
  const { rows } = await queryPool(db, statement);
  const [row] = rows as Preference[];
  if (row === undefined) throw new ServiceError('preference_not_found');
  return row;
}

/**
 * Deletes preferences. A refused call leaves no audit entry.
 *
 * @throws ServiceError preference_not_found
 */
export async function deletePreference(db: Database, userId: number, actor: Actor): Promise<void> {
  const deleted = await db.$queryRaw<unknown[]>`
    with written as (
      delete from preferences where user_id = ${userId} returning user_id
    ), ${audited(actor, { action: 'preference.delete', object: nameObject(userId), outcome: 'deleted' })}
    select user_id from written`;
  if (deleted.length === 0) throw new ServiceError('preference_not_found');
}

const nameObject = (userId: number) => `preferences/${userId}`;
