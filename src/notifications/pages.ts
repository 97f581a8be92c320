import { CHANNEL_NAMES, type Channel } from '../channels.ts';
import { type Database, queryPool } from '../database.ts';
import { Prisma } from '../generated/client.ts';
import { addCounts, fade, type Reason, SUPPRESSION_REASONS } from './counts.ts';
import { extendManifest, type Manifest, setManifest } from './manifest.ts';
import type { Failure } from './refusal.ts';

/** A page this process has claimed, with all that publishing it needs. */
export type ClaimedPage = {
  notification_id: string;
  number: number;
  first_user_id: number;
  last_user_id: number;
  /** The fencing token. */
  attempt: number;
  claimed_at: Date;
  everyone: boolean;
  channels: Channel[];
  subject: string | null;
  payload: string;
  created_by: string;
  traceparent: string | null;
  /** Set when the page was settled before and is open for these users only, whom SNS refused then. */
  retrying: number[] | null;
  /** Set when the notification ended before this page was taken over: nobody of the page is told any more. */
  withdrawn: 'canceled' | 'expired' | null;
};

/** What became of a page. Counts are users. */
export type PageResult = Manifest & {
  users: number;
  published: number;
  failed: number;
  messages: number;
  suppressed: Partial<Record<Reason, number>>;
  by_channel: Partial<Record<Channel, number>>;
  failures: Failure[];
};

type PageKey = Pick<ClaimedPage, 'notification_id' | 'number' | 'attempt'>;

/** The columns of `ClaimedPage`, but for the last two, of the page `p` and its notification `n`. */
export const CLAIMED = Prisma.sql`
  p.notification_id, p.number, p.first_user_id, p.last_user_id, p.attempt, now() as claimed_at,
  n.everyone, n.channels, n.subject, n.payload, n.created_by, n.traceparent`;

/** SQL of the ids of those for whom the page `p` is open anew. */
export const RETRYING = Prisma.sql`
  array(select (f ->> 'user_id')::int from jsonb_array_elements(p.failures) f)`;

export const leaseEnd = (leaseSeconds: number) => Prisma.sql`now() + make_interval(secs => ${leaseSeconds})`;

/**
 * Takes over a page whose lease has run out, raising its fencing token. Pages of a paused notification stay
 * where they are until it expires.
 * Plan: the partial index pages_open in lease order; `skip locked` lets rivals take different pages.
 * Lock: the page, then the notification's row, shared, so that it is claimed before a pause, cancel or expiry is answered, or
 * behind it. It is passed over while one of them is under way, as a cancel counts for up to seconds; the next look finds it.
 * Whether it is withdrawn is read off the locked row: the other `n` is as it was when the statement began.
 */
export async function reclaimPage(db: Database, leaseSeconds: number): Promise<ClaimedPage | null> {
  const { rows } = await queryPool(
    db,
    Prisma.sql`
    with expired as (
      select p.notification_id, p.number, n.status, n.expires_at
      from pages p join notifications n on n.id = p.notification_id
      where p.state = 'open' and p.lease_until < now() and (n.status <> 'paused' or n.expires_at <= now())
      order by p.lease_until
      limit 1
      for update of p skip locked
      for share of n skip locked
    )
    update pages p
    set attempt = p.attempt + 1, lease_until = ${leaseEnd(leaseSeconds)}
    from expired, notifications n
    where p.notification_id = expired.notification_id and p.number = expired.number and n.id = p.notification_id
    returning ${CLAIMED}, case when p.failures <> '[]' then ${RETRYING} end as retrying,
      case when expired.status in ('canceled', 'expired') then expired.status::text
           when expired.expires_at <= now() then 'expired' end as withdrawn`,
  );
  const [page] = rows as ClaimedPage[];
  return page ?? null;
}

/**
 * Instead of a page: the notification's time was up before its next one, its audience turned out to be at its end, or it is
 * and those are left whom a retry has yet to come to.
 */
export type NoPage = { kind: 'expired' | 'exhausted' | 'retrying'; notification_id: string };

/**
 * Cuts the next page of the due notification that has waited longest, moving its cursor in the same statement.
 * Lock: the notification's row, for the statement only; `skip locked` sends rivals to the next notification.
 * Plan: the partial index notifications_due gives the row; the lateral join walks at most `pageUsers` keys from the cursor
 * (a cursor read from a plain CTE would scan and sort all users).
 * One that has expired, or is being retried, goes to the end of the queue, so that one process ends it, or reopens a page of
 * it, while the others serve the next. One that is paused waits until it expires, and for nothing else.
 */
export async function cutPage(
  db: Database,
  { pageUsers, leaseSeconds }: { pageUsers: number; leaseSeconds: number },
): Promise<ClaimedPage | NoPage | null> {
  const { rows } = await queryPool(
    db,
    Prisma.sql`
    with due as (
      select id, everyone, cursor, user_ids, last_page, exhausted, coalesce(expires_at <= now(), false) as expired
      from notifications
      where ${due(Prisma.sql`notifications`)}
      order by waiting_since
      limit 1
      for update skip locked
    ), audience as (
      select next.user_id from due cross join lateral (
        select u.user_id from users u where u.user_id > due.cursor order by u.user_id limit ${pageUsers}
      ) next where due.everyone and not due.exhausted and not due.expired
      union all
      select next.user_id from due cross join lateral (
        select a.user_id from unnest(due.user_ids) as a(user_id)
        where a.user_id > due.cursor order by a.user_id limit ${pageUsers}
      ) next where not due.everyone and not due.exhausted and not due.expired
    ), range as (
      select min(user_id) as first, max(user_id) as last, count(*)::int as users from audience
    ), p as (
      insert into pages (notification_id, number, first_user_id, last_user_id, users, lease_until)
      select due.id, due.last_page + 1, range.first, range.last, range.users, ${leaseEnd(leaseSeconds)}
      from due, range where range.users > 0
      returning *
    ), n as (
      update notifications n set
        cursor = coalesce(range.last, n.cursor),
        exhausted = range.users < ${pageUsers},
        last_page = n.last_page + (range.users > 0)::int,
        open_pages = n.open_pages + (range.users > 0)::int,
        targeted = n.targeted + case when n.everyone then range.users else 0 end,
        waiting_since = now(),
        started_at = coalesce(n.started_at, now()),
        recent_since = coalesce(n.recent_since, now()),
        status = case when range.users = 0 and n.open_pages = 0 then 'completed' else 'dispatching' end::notification_status,
        completed_at = case when range.users = 0 and n.open_pages = 0 then now() end
      from due, range where n.id = due.id and not due.exhausted and not due.expired
      returning n.*
    ), postponed as (
      update notifications n set waiting_since = now() from due where n.id = due.id and (due.exhausted or due.expired)
    )
    select due.id, due.exhausted, due.expired, range.users, ${CLAIMED}, null::int[] as retrying, null as withdrawn
    from due cross join range left join n on n.id = due.id left join p on p.notification_id = due.id`,
  );
  const [row] = rows as (ClaimedPage & Found)[];
  if (row === undefined) return null;
  const { id, exhausted, expired, users, ...page } = row;
  if (expired) return { kind: 'expired', notification_id: id };
  if (exhausted) return { kind: 'retrying', notification_id: id };
  return users === 0 ? { kind: 'exhausted', notification_id: id } : page;
}

/** What cutting a page finds out beside it. */
type Found = { id: string; exhausted: boolean; expired: boolean; users: number };

/** Prolongs the lease of a claimed page. False: another process has taken the page over. */
export async function renewLease(db: Database, page: PageKey, leaseSeconds: number): Promise<boolean> {
  const renewed = await db.$executeRaw`
    update pages set lease_until = ${leaseEnd(leaseSeconds)} where ${held(page)}`;
  return renewed === 1;
}

/**
 * Gives a claimed page back unsettled, so that any process may take it over at once. The fencing token is raised with it: a
 * renewal that is still on its way would take it away again. A millisecond ago, because the column rounds up.
 */
export async function releasePage(db: Database, page: PageKey): Promise<void> {
  await db.$executeRaw`
    update pages set attempt = attempt + 1, lease_until = now() - interval '1 ms' where ${held(page)}`;
}

/**
 * Records what became of a page and adds it to its notification's counts; completes the notification when this was the last
 * page of an exhausted audience and nobody is left to retry. False: the fencing token is outdated, another process has the
 * page, nothing was written.
 * It goes to the end of the queue if anything else is due, as what came while the page was under way has waited longer (if
 * nothing is, its place would cost an entry in the index for each page); one that is paused stays where it is. Cut off to the millisecond: the column rounds up, and whoever looks next would not find it due yet.
 * Lock: the page, then the notification's row, so that settles of one notification follow one another and `open_pages`
 * reaches zero in exactly one of them.
 */
export async function settlePage(
  db: Database,
  page: PageKey & Pick<ClaimedPage, 'retrying'>,
  result: PageResult,
): Promise<boolean> {
  // Those of a retry are the very users who failed, whether or not anybody knows them any more.
  const growth = page.retrying === null ? Prisma.sql`${result.users}::int - settled.users` : Prisma.sql`0`;
  const { rowCount } = await queryPool(
    db,
    Prisma.sql`
    with settled as (
      update pages set state = 'settled', lease_until = null,
        ${page.retrying === null ? setManifest(result) : extendManifest(result)},
        failures = ${JSON.stringify(result.failures)}::jsonb
      where ${held(page)}
      returning notification_id, users
    )
    update notifications n set
      open_pages = n.open_pages - 1,
      targeted = n.targeted + ${growth},
      published = n.published + ${result.published}::int,
      failed = n.failed + ${result.failed}::int,
      messages = n.messages + ${result.messages}::int,
      suppressed = ${addCounts(Prisma.sql`n.suppressed`, SUPPRESSION_REASONS, result.suppressed)},
      by_channel = ${addCounts(Prisma.sql`n.by_channel`, CHANNEL_NAMES, result.by_channel)},
      recent_users = n.recent_users * ${fade(Prisma.sql`coalesce(n.recent_at, now())`)} + ${result.users}::int,
      recent_at = now(),
      waiting_since = case when n.status = 'dispatching' and exists (
        select from notifications o where ${due(Prisma.sql`o`)} and o.id <> n.id
      ) then date_trunc('milliseconds', now()) else n.waiting_since end,
      status = case when ${LAST_PAGE} then 'completed' else n.status end,
      completed_at = case when ${LAST_PAGE} then now() else n.completed_at end
    from settled where n.id = settled.notification_id`,
  );
  return rowCount === 1;
}

/** What waits for its next page, in the words of the index notifications_due. */
const due = (row: Prisma.Sql) => Prisma.sql`
  (not ${row}.exhausted or ${row}.to_retry > 0) and ${row}.status in ('scheduled', 'queued', 'dispatching', 'paused')
  and ${row}.waiting_since <= now()`;

const LAST_PAGE = Prisma.sql`
  n.exhausted and n.open_pages = 1 and n.to_retry = 0 and n.status in ('dispatching', 'paused')`;

const held = ({ notification_id, number, attempt }: PageKey) =>
  Prisma.sql`notification_id = ${notification_id}::uuid and number = ${number} and attempt = ${attempt} and state = 'open'`;
