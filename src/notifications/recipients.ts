import { CHANNEL_NAMES, CHANNELS, type Channel } from '../channels.ts';
import type { Database } from '../database.ts';
import { Prisma } from '../generated/client.ts';
import type { Reason } from './counts.ts';
import type { ClaimedPage } from './pages.ts';

/** Someone to tell: the address on each channel they will be told on, at least one. */
export type Recipient = { user_id: number; addresses: Partial<Record<Channel, string>> };

/** Everyone of a page: whom to tell, and how many are not told for which reason. `users` counts both. */
export type Resolved = { users: number; recipients: Recipient[]; suppressed: Partial<Record<Reason, number>> };

type Row = { user_id: number; reason: Reason | null } & { [channel in Channel]: string | null };

/**
 * Decides for every user of a page on which channels they are told, or why they are not, from preferences and addresses as
 * they are now.
 * Plan: bounded by the page's first and last id on every table (an open end walks the whole index for each page).
 */
export async function resolveRecipients(db: Database, page: ClaimedPage): Promise<Resolved> {
  if (page.withdrawn !== null) return withdrawEveryone(db, page, page.withdrawn);
  const { id, joined } = audience(page);
  const rows = await db.$queryRaw<Row[]>`
    select ${id} as user_id, ${selectAddresses(page.channels)}, ${selectReason(page.channels)} as reason
    from ${joined}
    order by 1`;
  return splitRows(rows);
}

async function withdrawEveryone(db: Database, page: ClaimedPage, reason: Reason): Promise<Resolved> {
  const { joined } = audience(page);
  const [row] = await db.$queryRaw<{ users: number }[]>`select count(*)::int as users from ${joined}`;
  const users = row?.users ?? 0;
  return { users, recipients: [], suppressed: { [reason]: users } };
}

function splitRows(rows: Row[]): Resolved {
  const recipients: Recipient[] = [];
  const suppressed: Partial<Record<Reason, number>> = {};
  for (const { user_id, reason, ...addresses } of rows) {
    if (reason !== null) suppressed[reason] = (suppressed[reason] ?? 0) + 1;
    else recipients.push({ user_id, addresses: withoutNulls(addresses) });
  }
  return { users: rows.length, recipients, suppressed };
}

function withoutNulls(addresses: Record<Channel, string | null>): Partial<Record<Channel, string>> {
  const present: Partial<Record<Channel, string>> = {};
  for (const channel of CHANNEL_NAMES) if (addresses[channel] !== null) present[channel] = addresses[channel];
  return present;
}

/** Everyone of a page: the addresses as `u`, the preferences as `p`. The audience `everyone` is every mirrored user. */
function audience(page: ClaimedPage): { id: Prisma.Sql; joined: Prisma.Sql } {
  const range = Prisma.sql`between ${page.first_user_id} and ${page.last_user_id}`;
  const id = page.everyone ? Prisma.sql`u.user_id` : Prisma.sql`a.user_id`;
  const listed = Prisma.sql`
    (select unnest(user_ids) as user_id from notifications where id = ${page.notification_id}::uuid) a
    left join users u on u.user_id = a.user_id and u.user_id ${range}`;
  const joined = Prisma.sql`${page.everyone ? Prisma.sql`users u` : listed}
    left join preferences p on p.user_id = ${id} and p.user_id ${range}
    where ${id} ${range}`;
  return { id, joined };
}

/** One column per channel of the registry: the address when the user is told there, else null. */
function selectAddresses(wanted: Channel[]): Prisma.Sql {
  return Prisma.join(
    CHANNEL_NAMES.map((name) =>
      wanted.includes(name)
        ? Prisma.sql`case when ${on(name)} then ${contact(name)} end as ${column(name)}`
        : Prisma.sql`null as ${column(name)}`,
    ),
  );
}

function selectReason(wanted: Channel[]): Prisma.Sql {
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
