import { setTimeout as sleep } from 'node:timers/promises';
import type { Actor } from '../audit/record.ts';
import { type Channel, channelsOfBits } from '../channels.ts';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { type NotificationStatus, Prisma } from '../generated/client.ts';
import { cancelRunning, type Owner, pauseRunning, resumePaused } from './lifecycle.ts';
import { requireReachable, withinReach } from './reach.ts';
import { isDispatched, type NotificationRow, toResource, UNREAD_COLUMNS } from './resource.ts';
import { retryFailed } from './retry.ts';
import type { NotificationResource } from './schemas.ts';
import { findYardstick } from './yardstick.ts';

/** Subjects and payloads in a page of the list add up to at most this, in bytes: a thousand may have 256 KiB each. */
const LIST_BYTES_MAX = 4 * 1024 * 1024;

/** How often a caller who waits for the end of a dispatch has it looked up: at first, doubling up to the last. */
const WAIT_POLL_MS = { first: 10, last: 250 };

/** @throws ServiceError notification_not_found, also when it is out of reach */
export async function getNotification(db: Database, id: string, owner: Owner): Promise<NotificationResource> {
  const row = await getRow(db, id, owner);
  return showRow(db, row);
}

/** Which notifications a list is to show: all or those of one status, from behind the id `cursor`. */
type ListQuery = { status?: NotificationStatus | undefined; limit: number; cursor?: string | undefined };

/**
 * Notifications within reach, newest first. `full`: there may be more behind them, because the limit, or the bytes that a
 * page may have, ended it.
 */
export async function listNotifications(
  db: Database,
  owner: Owner,
  query: ListQuery,
): Promise<{ notifications: NotificationResource[]; full: boolean }> {
  const { last, full } = await cutList(db, owner, query);
  if (last === null) return { notifications: [], full };
  const { status, limit, cursor } = query;
  const rows = await db.notification.findMany({
    where: {
      ...(owner !== null && { created_by: owner }),
      ...(status && { status }),
      id: { gte: last, ...(cursor && { lt: cursor }) },
    },
    orderBy: { id: 'desc' },
    take: limit,
    omit: UNREAD_COLUMNS,
  });
  const yardstick = await findYardstick(db, rows);
  return { notifications: rows.map((row) => toResource(row, yardstick)), full };
}

/**
 * The last id of a page of the list, before any text is read: `octet_length` of a value stored out of line takes its
 * length from the pointer.
 * Plan: the index of owner and status, backwards, to the limit.
 */
async function cutList(db: Database, owner: Owner, { status, limit, cursor }: ListQuery) {
  const conditions = [
    Prisma.sql`true`,
    ...(owner === null ? [] : [Prisma.sql`created_by = ${owner}`]),
    ...(status === undefined ? [] : [Prisma.sql`status = ${status}::notification_status`]),
    ...(cursor === undefined ? [] : [Prisma.sql`id < ${cursor}::uuid`]),
  ];
  const [cut] = await db.$queryRaw<{ last: string | null; full: boolean }[]>`
    select (array_agg(id order by id))[1]::text as last, coalesce(max(found) >= ${limit} or max(found) > count(*), false) as full
    from (
      select id, sum(bytes) over newest as bytes, row_number() over newest as number, count(*) over () as found
      from (
        select id, octet_length(payload) + coalesce(octet_length(subject), 0) as bytes
        from notifications where ${Prisma.join(conditions, ' and ')} order by id desc limit ${limit}
      ) read
      window newest as (order by id desc)
    ) measured
    where bytes <= ${LIST_BYTES_MAX} or number = 1`;
  return cut ?? { last: null, full: false };
}

/** The ways to control a notification: what it takes, and in which state there is nothing left to do. */
const CONTROLS = {
  cancel: { run: cancelRunning, done: 'canceled', hasDone: ({ status }: NotificationRow) => status === 'canceled' },
  pause: { run: pauseRunning, done: 'paused', hasDone: ({ status }: NotificationRow) => status === 'paused' },
  resume: { run: resumePaused, done: 'resumed', hasDone: ({ completed_at }: NotificationRow) => completed_at === null },
};

/**
 * Cancels, pauses or resumes a notification: effective for every page not yet claimed; pages under way are finished. To do
 * what is done already changes nothing: canceling what is canceled, pausing what is paused, resuming what is not paused
 * and has not ended.
 *
 * @throws ServiceError notification_not_found, illegal_transition
 */
export async function controlNotification(
  db: Database,
  control: keyof typeof CONTROLS,
  { id, owner, actor }: { id: string; owner: Owner; actor: Actor },
): Promise<NotificationResource> {
  const { run, done, hasDone } = CONTROLS[control];
  const changed = await run(db, id, owner, actor);
  const row = await getRow(db, id, owner);
  if (changed || hasDone(row)) return showRow(db, row);
  throw new ServiceError('illegal_transition', `A notification that is ${row.status} cannot be ${done}.`);
}

/**
 * Has whoever failed tried again, and nobody else, when the notification is completed. Where nobody has failed, or a retry
 * is under way, there is nothing to do.
 *
 * @throws ServiceError notification_not_found, illegal_transition
 */
export async function retryNotification(
  db: Database,
  { id, owner, actor }: { id: string; owner: Owner; actor: Actor },
): Promise<NotificationResource> {
  const { changed, isOver } = await retryFailed(db, id, owner, actor);
  const row = await getRow(db, id, owner);
  if (changed || isNothingToRetry(row)) return showRow(db, row);
  // Completed by a rival's retry, which has come to its end between the two statements.
  if (row.status === 'completed' && !isOver) return showRow(db, row);
  const why = row.status === 'completed' ? 'whose time is up' : `that is ${row.status}`;
  throw new ServiceError('illegal_transition', `A notification ${why} cannot be retried.`);
}

function isNothingToRetry({ status, failed, completed_at, retry_cursor }: NotificationRow): boolean {
  const isUnderWay = retry_cursor !== null && completed_at === null;
  return isUnderWay || (failed === 0 && status !== 'canceled' && status !== 'expired');
}

/** Waits until a notification is dispatched, or the signal is aborted. Returns it when dispatched, else null. */
export async function waitForDispatch(
  db: Database,
  id: string,
  signal: AbortSignal,
): Promise<NotificationResource | null> {
  let pauseMs = WAIT_POLL_MS.first;
  while (!signal.aborted) {
    if (await hasDispatched(db, id)) return getNotification(db, id, null);
    // Woken early by the signal, which the loop looks at next.
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, WAIT_POLL_MS.last);
  }
  return null;
}

/** Reads nothing but what decides: the row may hold 256 KiB of text. */
async function hasDispatched(db: Database, id: string): Promise<boolean> {
  const select = { exhausted: true, open_pages: true, completed_at: true };
  const row = await db.notification.findUnique({ where: { id }, select });
  return row !== null && isDispatched(row);
}

export type SentMessage = { user_id: number; message_id: string; channels: Channel[]; published_at: Date };

/**
 * Whom a notification has told, in the order of user ids from behind `cursor`; all or one user.
 * Plan: the pages' primary key gives them in order, which is the order of their ranges, so the limit ends the walk early.
 *
 * @throws ServiceError notification_not_found
 */
export async function listSentMessages(
  db: Database,
  id: string,
  owner: Owner,
  { user_id = null, limit, cursor }: { user_id?: number | null | undefined; limit: number; cursor: number },
): Promise<SentMessage[]> {
  await requireReachable(db, id, owner);
  const rows = await db.$queryRaw<(Omit<SentMessage, 'channels'> & { bits: number })[]>`
    select m.user_id, m.message_id, m.bits, coalesce(m.published_at, p.settled_at) as published_at
    from pages p cross join lateral unnest(p.user_ids, p.message_ids, p.channel_bits, p.published_at)
      as m(user_id, message_id, bits, published_at)
    where p.notification_id = ${id}::uuid
      and (${owner}::text is null or exists (select from notifications where id = ${id}::uuid and created_by = ${owner}))
      and p.last_user_id > ${cursor} and m.user_id > ${cursor}
      and (${user_id}::int is null or (${user_id} between p.first_user_id and p.last_user_id and m.user_id = ${user_id}))
    order by p.number, m.user_id
    limit ${limit}`;
  return rows.map(({ bits, ...row }) => ({ ...row, channels: channelsOfBits(bits) }));
}

/** @throws ServiceError notification_not_found */
async function getRow(db: Database, id: string, owner: Owner): Promise<NotificationRow> {
  const row = await db.notification.findUnique({ where: withinReach(id, owner), omit: UNREAD_COLUMNS });
  if (row === null) throw new ServiceError('notification_not_found');
  return row;
}

async function showRow(db: Database, row: NotificationRow): Promise<NotificationResource> {
  return toResource(row, await findYardstick(db, [row]));
}
