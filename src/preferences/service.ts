import { type Database, isRowMissing, isUniqueViolation } from '../database.ts';
import { ServiceError } from '../errors.ts';
import type { Preference } from '../generated/client.ts';

type Change = Partial<Omit<Preference, 'user_id'>>;

/** Preferences in the order of user ids, from behind `cursor`. */
export function listPreferences(
  db: Database,
  { limit, cursor }: { limit: number; cursor: number },
): Promise<Preference[]> {
  return db.preference.findMany({ where: { user_id: { gt: cursor } }, orderBy: { user_id: 'asc' }, take: limit });
}

/** @throws ServiceError preference_not_found */
export async function getPreference(db: Database, userId: number): Promise<Preference> {
  const preference = await db.preference.findUnique({ where: { user_id: userId } });
  if (preference === null) throw new ServiceError('preference_not_found');
  return preference;
}

/** @throws ServiceError preference_exists */
export async function createPreference(db: Database, preference: Preference): Promise<Preference> {
  try {
    return await db.preference.create({ data: preference });
  } catch (error) {
    throw isUniqueViolation(error) ? new ServiceError('preference_exists') : error;
  }
}

/** Stores preferences, new or known. `created` says which. One statement, so that concurrent calls cannot collide. */
export async function putPreference(
  db: Database,
  preference: Preference,
): Promise<{ preference: Preference; created: boolean }> {
  const { user_id, email_enabled, sms_enabled } = preference;
  const [row] = await db.$queryRaw<{ created: boolean }[]>`
    insert into preferences (user_id, email_enabled, sms_enabled) values (${user_id}, ${email_enabled}, ${sms_enabled})
    on conflict (user_id) do update set email_enabled = excluded.email_enabled, sms_enabled = excluded.sms_enabled
    returning xmax = 0 as created`;
  return { preference, created: row?.created === true };
}

/**
 * Changes the channels named and leaves the others.
 *
 * @throws ServiceError preference_not_found
 */
export async function patchPreference(db: Database, userId: number, change: Change): Promise<Preference> {
  try {
    return await db.preference.update({ where: { user_id: userId }, data: change });
  } catch (error) {
    throw isRowMissing(error) ? new ServiceError('preference_not_found') : error;
  }
}

/** @throws ServiceError preference_not_found */
export async function deletePreference(db: Database, userId: number): Promise<void> {
  const { count } = await db.preference.deleteMany({ where: { user_id: userId } });
  if (count === 0) throw new ServiceError('preference_not_found');
}
