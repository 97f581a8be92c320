import type { Database } from '../database.ts';

/** Whose addresses the first demo users have; the others are numbered. */
const NAMES = ['ada', 'grace', 'alan', 'edsger', 'barbara', 'donald', 'frances', 'ken', 'margaret', 'dennis'];

/**
 * Fills an empty database with `count` users of every kind, ten kinds in turn: 1 both channels, 2 e-mail only, 3 without
 * preferences, 4 SMS only, 5 opted out, 6 without a phone, 7 e-mail on but without an address, 8 e-mail, 9 both, 10 SMS.
 * One statement, so that nobody is left without preferences by a stop in between.
 */
export async function loadDemoUsers(db: Database, count: number): Promise<void> {
  if ((await db.user.count()) > 0) return;
  await db.$executeRaw`
    with loaded as (
      insert into users (user_id, email, phone)
      select id,
        case when id % 10 <> 7 then coalesce((${NAMES}::text[])[id], 'user' || id) || '@example.com' end,
        case when id % 10 <> 6 then '+1555' || lpad(id::text, 7, '0') end
      from generate_series(1, ${count}::int) as id
      returning user_id
    )
    insert into preferences (user_id, email_enabled, sms_enabled)
    select user_id, user_id % 10 in (1, 2, 6, 7, 8, 9), user_id % 10 in (0, 1, 4, 6, 9)
    from loaded
    where user_id % 10 <> 3
    on conflict (user_id) do nothing`;
}
