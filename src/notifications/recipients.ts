import { CHANNEL_NAMES, CHANNELS, type Channel } from '../channels.ts';
import { type Database, queryPool } from '../database.ts';
import { Prisma } from '../generated/client.ts';
import type { Reason } from './counts.ts';
import type { ClaimedPage } from './pages.ts';

/** Someone to tell: the address on each channel they will be told on, at least one. */
export type Recipient = { user_id: number; addresses: Partial<Record<Channel, string>> };

/** Everyone of a page: whom to tell, and how many are not told for which reason. `users` counts both. */
export type Resolved = { users: number; recipients: Recipient[]; suppressed: Partial<Record<Reason, number>> };

type Row = { user_id: number; reason: Reason | null } & { [channel in Channel]: string | null };

/** A part of an audience: whoever of it has an id from the first to the last. */
export type AudienceRange = {
  /** SQL of the ids that were named, as the column `user_id`; null: everyone, that is every mirrored user. */
  named: Prisma.Sql | null;
  first_user_id: number;
  last_user_id: number;
};

/**
 * Everyone whom a claimed page is for, as `resolveRange` finds them: all of its range, or those who are being retried. Of
 * one that is withdrawn, nobody is told.
 */
export async function resolveRecipients(db: Database, page: ClaimedPage): Promise<Resolved> {
  const { first_user_id, last_user_id } = page;
  const range = { named: nameAudience(page), first_user_id, last_user_id };
  if (page.withdrawn !== null) return withdrawEveryone(db, range, page.withdrawn);
  return resolveRange(db, range, page.channels);
}

function nameAudience({ notification_id: id, everyone, retrying }: ClaimedPage): Prisma.Sql | null {
  if (retrying !== null) return Prisma.sql`select unnest(${retrying}::int[]) as user_id`;
  if (everyone) return null;
  return Prisma.sql`select unnest(user_ids) as user_id from notifications where id = ${id}::uuid`;
}

/**
 * Decides for every user of a range on which channels they are told, or why they are not, from preferences and addresses
 * as they are now.
 * Plan: bounded by the range's first and last id on every table (an open end walks the whole index for each page); see
 * `joinAudience`.
 */
export async function resolveRange(db: Database, range: AudienceRange, channels: Channel[]): Promise<Resolved> {
  const { id, joined } = joinAudience(range);
  const statement = Prisma.sql`
    select ${id} as user_id, ${selectAddresses(channels)}, ${selectReason(channels)} as reason
    from ${joined}
    order by 1`;
  return splitRows((await queryPool(db, statement)).rows as Row[]);
}

async function withdrawEveryone(db: Database, range: AudienceRange, reason: Reason): Promise<Resolved> {
  const { joined } = joinAudience(range);
  const [row] = await db.$queryRaw<{ users: number }[]>`select count(*)::int as users from ${joined}`;
  const users = row?.users ?? 0;
  return { users, recipients: [], suppressed: { [reason]: users } };
}

function splitRows(rows: Row[]): Resolved {
  const recipients: Recipient[] = [];
  const suppressed: Partial<Record<Reason, number>> = {};
  for (const row of rows) {
    const { user_id, reason } = row;
    if (reason !== null) suppressed[reason] = (suppressed[reason] ?? 0) + 1;
    else recipients.push({ user_id, addresses: readAddresses(row) });
  }
  return { users: rows.length, recipients, suppressed };
}

function readAddresses(row: Row): Partial<Record<Channel, string>> {
  const present: Partial<Record<Channel, string>> = {};
  for (const channel of CHANNEL_NAMES) if (row[channel] !== null) present[channel] = row[channel];
  return present;
}

/**
 * Everyone of a range, as SQL behind `from`: the addresses as `u`, the preferences as `p`; and the SQL of their id.
 *
 * Its cost must not hang on PostgreSQL's statistics, which say that a table is empty when they were taken in the middle of
 * its first load. Two ranges that count as empty are then joined each row with each: ten thousand users take 11 s. A full
 * join cannot be done that way; the condition, which only looks as if null could pass, keeps it from becoming a left join.
 * Ids that were named may be far from each other, so for each of them there is a look into both keys (`offset 0` keeps
 * PostgreSQL from choosing).
 */
export function joinAudience({ named, first_user_id, last_user_id }: AudienceRange): {
  id: Prisma.Sql;
  joined: Prisma.Sql;
} {
  const range = Prisma.sql`between ${first_user_id} and ${last_user_id}`;
  if (named === null) {
    const joined = Prisma.sql`(select * from users where user_id ${range}) u
      full join (select * from preferences where user_id ${range}) p on p.user_id = u.user_id
      where coalesce(u.user_id, 0) <> 0`;
    return { id: Prisma.sql`u.user_id`, joined };
  }
  const joined = Prisma.sql`(${named}) a
    left join lateral (select * from users where user_id = a.user_id offset 0) u on true
    left join lateral (select * from preferences where user_id = a.user_id offset 0) p on true
    where a.user_id ${range}`;
  return { id: Prisma.sql`a.user_id`, joined };
}

/** One column per channel of the registry: the address when the user is told there, else null. */
function selectAddresses(wanted: Channel[]): Prisma.Sql {
  return Prisma.join(CHANNEL_NAMES.map((name) => Prisma.sql`${selectAddress(name, wanted)} as ${column(name)}`));
}

/** SQL of the address when the user is told on a channel, else null. */
export function selectAddress(name: Channel, wanted: Channel[]): Prisma.Sql {
  return wanted.includes(name) ? Prisma.sql`case when ${on(name)} then ${contact(name)} end` : Prisma.sql`null::text`;
}

/** SQL of the reason why a user is not told; null when they are. */
export function selectReason(wanted: Channel[]): Prisma.Sql {
  const anyOn = Prisma.join(wanted.map(on), ' or ');
  const anyReachable = Prisma.join(
    wanted.map((name) => Prisma.sql`(${on(name)} and ${contact(name)} is not null)`),
    ' or ',
  );
  return Prisma.sql`case
      when u.user_id is null then 'unknown_user'
      when p.user_id is null then 'no_preferences'
      when not (${anyOn}) then 'opted_out'
      when not (${anyReachable}) then 'no_contact' end`;
}

const column = (name: string) => Prisma.raw(`"${name}"`);
const on = (name: Channel) => Prisma.sql`p.${column(CHANNELS[name].preference)}`;
const contact = (name: Channel) => Prisma.sql`u.${column(CHANNELS[name].contact)}`;
