import { CHANNEL_NAMES, CHANNELS, type Channel } from '../channels.ts';
import type { Database } from '../database.ts';
import { Prisma } from '../generated/client.ts';
import { REASONS_FOUND, type ReasonFound } from './counts.ts';
import type { NotificationInput } from './input-schema.ts';
import { type AudienceRange, joinAudience, selectAddress, selectReason } from './recipients.ts';

/** Whom a notification is for, and on which channels. */
export type Audience = {
  /** Ascending, each id once; null: everyone. */
  user_ids: number[] | null;
  /** In the order of the registry. */
  channels: Channel[];
};

/** How an audience is cut into pages, and a page into messages. */
export type Packing = { pageUsers: number; recipientsPerMessage: number };

/** What a part of an audience would become, by preferences and addresses as they are now. */
export type PartCounts = {
  targeted: number;
  published: number;
  suppressed: Record<ReasonFound, number>;
  by_channel: Record<Channel, number>;
  /** Messages of the pages that are not crowded. */
  messages: number;
  /** Pages with messages that bytes may end before `recipientsPerMessage` does. */
  crowded: { first: number; last: number }[];
};

/** Users counted by one statement: less than a tenth of a second. */
const PART_USERS = 20_000;
/** What the JSON of a recipient adds up to beside addresses: names, quotes, comma, braces and the longest id. */
const RECIPIENT_BYTES = 24;
/** The same for each address: name, quotes, colon and comma. */
const ADDRESS_BYTES = 16;

/** Whom an input names, whatever the order of ids and channels in it. */
export function readAudience({ user_ids, channels }: NotificationInput): Audience {
  return {
    user_ids: user_ids === undefined ? null : [...new Set(user_ids)].toSorted((a, b) => a - b),
    channels: CHANNEL_NAMES.filter((name) => channels?.includes(name) ?? true),
  };
}

/**
 * Counts an audience part by part, in ranges of ids that begin and end where pages do. Nobody of it comes into the process.
 *
 * @param room - the bytes that one message has for its recipients.
 * @throws what `signal` was aborted with
 */
export async function* countParts(
  db: Database,
  audience: Audience,
  packing: Packing & { room: number },
  signal: AbortSignal,
): AsyncGenerator<PartCounts> {
  for await (const range of cutRanges(db, audience.user_ids, packing.pageUsers, signal)) {
    yield await countRange(db, range, audience.channels, packing);
    signal.throwIfAborted();
  }
}

/** The SQL of ids that were named, for a range. */
export const nameIds = (ids: number[]) => Prisma.sql`select unnest(${ids}::int[]) as user_id`;

/** Ids that were named are few enough for one range. Plan: an index-only scan over the keys of one range at a time. */
async function* cutRanges(
  db: Database,
  ids: number[] | null,
  pageUsers: number,
  signal: AbortSignal,
): AsyncGenerator<AudienceRange> {
  if (ids !== null) {
    const [first_user_id, last_user_id] = [ids.at(0), ids.at(-1)];
    if (first_user_id === undefined || last_user_id === undefined) return;
    return yield { named: nameIds(ids), first_user_id, last_user_id };
  }
  const most = Math.ceil(PART_USERS / pageUsers) * pageUsers;
  for (let first_user_id = 1; ; ) {
    signal.throwIfAborted();
    const [next] = await db.$queryRaw<{ users: number; last: number | null }[]>`
      select count(*)::int as users, max(user_id) as last
      from (select user_id from users where user_id >= ${first_user_id} order by user_id limit ${most}) next`;
    const { users = 0, last = null } = next ?? {};
    if (last === null) return;
    yield { named: null, first_user_id, last_user_id: last };
    if (users < most) return;
    first_user_id = last + 1;
  }
}

/**
 * One pass over a range, down to one row: users by page and channels, then what those groups add up to.
 * Plan: as `resolveRange`, sorted by id for the number of the page.
 */
async function countRange(
  db: Database,
  range: AudienceRange,
  channels: Channel[],
  { pageUsers, recipientsPerMessage, room }: Packing & { room: number },
): Promise<PartCounts> {
  const { id, joined } = joinAudience(range);
  const [counts] = await db.$queryRaw<PartCounts[]>`
    with resolved as (
      select ${id} as user_id, (row_number() over (order by ${id}) - 1) / ${pageUsers}::int as page,
        ${selectReason(channels)} as reason, ${selectBits(channels)} as bits,
        ${recipientsPerMessage === 1 ? Prisma.sql`0` : boundBytes(channels)} as bytes
      from ${joined}
    ), sets as (
      select page, reason, bits, count(*) as users, min(user_id) as first, max(user_id) as last,
        ceil(count(*)::numeric / ${recipientsPerMessage}::int) as messages,
        least(sum(bytes), max(bytes) * ${recipientsPerMessage}::bigint) > ${room}::int as is_crowded
      from resolved group by page, reason, bits
    ), crowded as (
      select page, min(first) as first, max(last) as last from sets group by page having bool_or(is_crowded)
    )
    select coalesce(sum(users), 0)::int as targeted,
      ${countUsers(Prisma.sql`reason is null`)} as published,
      ${countEach(REASONS_FOUND, (reason) => Prisma.sql`reason = ${reason}`)} as suppressed,
      ${countEach(CHANNEL_NAMES, (name) => Prisma.sql`bits & ${CHANNELS[name].bit}::int <> 0`)} as by_channel,
      coalesce(sum(messages) filter (where reason is null and crowded.page is null), 0)::int as messages,
      (select coalesce(jsonb_agg(jsonb_build_object('first', first, 'last', last)), '[]') from crowded) as crowded
    from sets left join crowded using (page)`;
  if (counts === undefined) throw new Error('An aggregate has one row.');
  return counts;
}

const countUsers = (condition: Prisma.Sql) => Prisma.sql`coalesce(sum(users) filter (where ${condition}), 0)::int`;

function countEach<Key extends string>(keys: readonly Key[], is: (key: Key) => Prisma.Sql): Prisma.Sql {
  return Prisma.sql`jsonb_build_object(${Prisma.join(keys.map((key) => Prisma.sql`${key}::text, ${countUsers(is(key))}`))})`;
}

function selectBits(wanted: Channel[]): Prisma.Sql {
  const bits = CHANNEL_NAMES.map(
    (name) => Prisma.sql`case when ${selectAddress(name, wanted)} is null then 0 else ${CHANNELS[name].bit}::int end`,
  );
  return Prisma.join(bits, ' + ');
}

/**
 * An upper bound of the bytes of a recipient's JSON: exact where addresses are ASCII. Other characters count more, because
 * PostgreSQL leaves U+FFFE and U+FFFF at 3 bytes and a message has them as 6.
 */
function boundBytes(wanted: Channel[]): Prisma.Sql {
  const addresses = CHANNEL_NAMES.map((name) => {
    const json = Prisma.sql`to_json(${selectAddress(name, wanted)})::text`;
    return Prisma.sql`coalesce(${ADDRESS_BYTES}::int + 3 * octet_length(${json}) - 2 * char_length(${json}), 0)`;
  });
  return Prisma.sql`${RECIPIENT_BYTES}::int + ${Prisma.join(addresses, ' + ')}`;
}
