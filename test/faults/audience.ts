import type { Pool } from 'pg';
import { type Expected, keyOf } from './checker.ts';

/**
 * Adds users who are of every kind there is, seven of ten of whom are told: 0 has no preferences, 1 has opted out, 2 has no
 * address; 3 and 4 are told on both channels, 5 to 8 by e-mail, 9 by SMS.
 */
export async function addAudience(sql: Pool, users: number): Promise<void> {
  await sql.query(
    `insert into users (user_id, email, phone)
     select n, case when n % 10 <> 2 then 'user' || n || '@example.com' end, '+1555' || 1000000 + n
     from generate_series(1, $1::int) n`,
    [users],
  );
  await sql.query(
    `insert into preferences (user_id, email_enabled, sms_enabled)
     select user_id, user_id % 10 between 2 and 8, user_id % 10 in (3, 4, 9) from users where user_id % 10 <> 0`,
  );
  await sql.query('analyze users, preferences');
}

/** How many of the users of `addAudience` are told. */
export const countTold = (users: number) => Math.floor(users * 0.7);

/**
 * What everybody is to be told, by a statement that shares nothing with the service's own.
 *
 * @param promised - the audience of every notification, by id; null: everyone.
 */
export async function readExpected(sql: Pool, promised: Map<string, number[] | null>): Promise<Expected> {
  const { rows } = await sql.query<{ user_id: number; told: string }>(`
    select user_id, string_agg(told, ' ' order by told) as told from (
      select user_id, 'email=' || email as told from users natural join preferences where email_enabled
      union all
      select user_id, 'sms=' || phone from users natural join preferences where sms_enabled
    ) addressed where told is not null group by user_id`);
  const toldBy = new Map(rows.map(({ user_id, told }) => [user_id, told]));
  const expected: Expected = new Map();
  for (const [notification_id, user_ids] of promised) {
    for (const user_id of user_ids ?? toldBy.keys()) {
      const told = toldBy.get(user_id);
      if (told !== undefined) expected.set(keyOf({ notification_id, user_id }), told);
    }
  }
  return expected;
}

/** Why each of the other users is told nothing. */
export async function readReasons(sql: Pool): Promise<Map<number, string>> {
  const { rows } = await sql.query<{ user_id: number; reason: string }>(`
    select user_id, case when email_enabled is null then 'no_preferences'
      when not email_enabled and not sms_enabled then 'opted_out' else 'no_contact' end as reason
    from users natural left join preferences
    where not coalesce(email_enabled and email is not null, false) and not coalesce(sms_enabled and phone is not null, false)`);
  return new Map(rows.map(({ user_id, reason }) => [user_id, reason]));
}
