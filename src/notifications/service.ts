import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { type Actor, audited } from '../audit/record.ts';
import { CHANNEL_NAMES, type Channel, channelsOfBits } from '../channels.ts';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import type { NotificationStatus } from '../generated/client.ts';
import { cancelRunning, type Owner } from './lifecycle.ts';
import { fitsMessage } from './message.ts';
import { isDispatched, type NotificationRow, toAcceptedRow, toResource, UNREAD_COLUMNS } from './resource.ts';
import type { NotificationInput, NotificationResource } from './schemas.ts';

/** Who sends, and what a request carries beside its body. */
export type Origin = { actor: Actor; idempotencyKey: string | undefined; traceparent: string | undefined };

/** How often a caller who waits for the end of a dispatch has it looked up: at first, doubling up to the last. */
const WAIT_POLL_MS = { first: 10, last: 250 };

/**
 * Accepts a notification: one INSERT, durable when this returns. The row is the queue; the dispatcher does the rest.
 * Under a key used before, the same input gets the notification as it was first answered.
 *
 * @throws ServiceError payload_too_large, idempotency_key_reused
 */
export async function acceptNotification(
  db: Database,
  input: NotificationInput,
  origin: Origin,
): Promise<{ notification: NotificationResource; replayed: boolean }> {
  const subject = input.subject ?? null;
  if (!fitsMessage(subject, input.payload)) throw new ServiceError('payload_too_large');
  const userIds = input.user_ids === undefined ? null : [...new Set(input.user_ids)].toSorted((a, b) => a - b);
  const channels = CHANNEL_NAMES.filter((name) => input.channels?.includes(name) ?? true);
  const key = origin.idempotencyKey ?? null;
  const hash = hashRequest({ ...input, channels }, userIds);
  const id = uuidv7();
  // `on conflict do nothing` waits for a rival under the same key to commit, so that its row can be read below.
  const owner = origin.actor.principal;
  const record = audited(origin.actor, {
    ...{ action: 'notification.send', object: `notifications/${id}` },
    outcome: userIds === null ? 'accepted for everyone' : 'accepted',
  });
  const inserted = await db.$queryRaw<unknown[]>`
    with written as (insert into notifications (id, subject, payload, user_ids, everyone, channels, status, created_by, idempotency_key,
      request_hash, traceparent, send_at, expires_at, waiting_since, targeted)
    select ${id}::uuid, ${subject}, ${input.payload}, ${userIds ?? []}::int[], ${userIds === null}, ${channels}::text[],
      case when send_at > now() then 'scheduled' else 'queued' end::notification_status, ${owner}, ${key},
      ${hash}, ${origin.traceparent ?? null}, send_at, ${input.expires_at ?? null}::timestamptz,
      greatest(now(), send_at), ${userIds?.length ?? 0}
    from (select ${input.send_at ?? null}::timestamptz as send_at) given
    on conflict (created_by, idempotency_key) do nothing returning id), ${record} select 1 as inserted from written`;
  const replayed = inserted.length === 0;
  const where =
    replayed && key !== null ? { created_by_idempotency_key: { created_by: owner, idempotency_key: key } } : { id };
  const { request_hash, ...row } = await db.notification.findUniqueOrThrow({ where, omit: { user_ids: true } });
  if (request_hash === null || !hash.equals(request_hash)) throw new ServiceError('idempotency_key_reused');
  return { notification: toResource(toAcceptedRow(row), { first: 0, last: 0 }), replayed };
}

/** @throws ServiceError notification_not_found, also when it is out of reach */
export async function getNotification(db: Database, id: string, owner: Owner): Promise<NotificationResource> {
  const row = await getRow(db, id, owner);
  return showRow(db, row);
}

/** Notifications within reach, newest first, from behind the id `cursor`; all or those of one status. */
export async function listNotifications(
  db: Database,
  owner: Owner,
  { status, limit, cursor }: { status?: NotificationStatus | undefined; limit: number; cursor?: string | undefined },
): Promise<NotificationResource[]> {
  const rows = await db.notification.findMany({
    where: {
      ...(owner !== null && { created_by: owner }),
      ...(status && { status }),
      ...(cursor && { id: { lt: cursor } }),
    },
    orderBy: { id: 'desc' },
    take: limit,
    omit: UNREAD_COLUMNS,
  });
  const range = await findUserRange(db, rows);
  return rows.map((row) => toResource(row, range));
}

/**
 * Stops a notification: effective for every page not yet claimed. Canceling what is canceled already changes nothing.
 *
 * @throws ServiceError notification_not_found, illegal_transition
 */
export async function cancelNotification(
  db: Database,
  id: string,
  owner: Owner,
  actor: Actor,
): Promise<NotificationResource> {
  const ended = await cancelRunning(db, id, owner, actor);
  const row = await getRow(db, id, owner);
  if (!ended && row.status !== 'canceled') {
    throw new ServiceError('illegal_transition', `A notification that is ${row.status} cannot be canceled.`);
  }
  return showRow(db, row);
}

/** Waits until a notification is dispatched, or the signal is aborted. Returns it when dispatched, else null. */
export async function waitForDispatch(
  db: Database,
  id: string,
  signal: AbortSignal,
): Promise<NotificationResource | null> {
  let pauseMs = WAIT_POLL_MS.first;
  while (!signal.aborted) {
    const row = await getRow(db, id, null);
    if (isDispatched(row)) return showRow(db, row);
    // Woken early by the signal, which the loop looks at next.
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, WAIT_POLL_MS.last);
  }
  return null;
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
  await getRow(db, id, owner);
  const rows = await db.$queryRaw<(Omit<SentMessage, 'channels'> & { bits: number })[]>`
    select m.user_id, m.message_id, m.bits, p.settled_at as published_at
    from pages p cross join lateral unnest(p.user_ids, p.message_ids, p.channel_bits) as m(user_id, message_id, bits)
    where p.notification_id = ${id}::uuid and p.last_user_id > ${cursor} and m.user_id > ${cursor}
      and (${user_id}::int is null or (${user_id} between p.first_user_id and p.last_user_id and m.user_id = ${user_id}))
    order by p.number, m.user_id
    limit ${limit}`;
  return rows.map(({ bits, ...row }) => ({ ...row, channels: channelsOfBits(bits) }));
}

/** One that is out of reach is answered like one that does not exist. */
async function getRow(db: Database, id: string, owner: Owner): Promise<NotificationRow> {
  const row = await db.notification.findUnique({ where: { id }, omit: UNREAD_COLUMNS });
  if (row === null || (owner !== null && row.created_by !== owner)) throw new ServiceError('notification_not_found');
  return row;
}

async function showRow(db: Database, row: NotificationRow): Promise<NotificationResource> {
  return toResource(row, await findUserRange(db, [row]));
}

/** Two index look-ups, made only when there is a broadcast under way whose progress depends on them. */
async function findUserRange(db: Database, rows: NotificationRow[]) {
  if (!rows.some((row) => row.everyone && !row.exhausted)) return { first: 0, last: 0 };
  const { _min, _max } = await db.user.aggregate({ _min: { user_id: true }, _max: { user_id: true } });
  return { first: _min.user_id ?? 0, last: _max.user_id ?? 0 };
}

/** SHA-256 of what was asked for, whatever the order of its fields, ids or channels. */
function hashRequest(input: NotificationInput, userIds: number[] | null): Buffer {
  const { payload, subject = null, channels, send_at = null, expires_at = null } = input;
  const asked = JSON.stringify([payload, subject, userIds, channels, send_at, expires_at]);
  return createHash('sha256').update(asked).digest();
}
