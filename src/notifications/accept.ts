import { createHash } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import { type Actor, audited } from '../audit/record.ts';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { Prisma } from '../generated/client.ts';
import {
  type Allowances,
  type Charge,
  charged,
  chargeRecipients,
  explainExceeded,
  findExceeded,
  isAllowanceExceeded,
} from './allowances.ts';
import { type Audience, readAudience } from './audience.ts';
import type { CountQueue } from './count-queue.ts';
import type { NotificationInput } from './input-schema.ts';
import { fitsMessage } from './message.ts';
import { countRecipients } from './preview.ts';
import { NO_YARDSTICK, toAcceptedRow, toResource } from './resource.ts';
import type { NotificationResource } from './schemas.ts';

/** Who sends and what they may, and what a request carries beside its body. */
export type Origin = {
  actor: Actor;
  allowances: Allowances;
  idempotencyKey: string | undefined;
  traceparent: string | undefined;
  /** Ends the count of an audience before anything is stored. */
  signal: AbortSignal;
  countInTurn: CountQueue;
};

/** A notification as it is stored. */
type Draft = { id: string; input: NotificationInput; audience: Audience; hash: Buffer };

/**
 * Accepts a notification: one INSERT, durable when this returns. The row is the queue; the dispatcher does the rest.
 * Under a key used before, the same input gets the notification as it was first answered, and is neither counted nor
 * charged again. The audience is counted, as it is now, only for who expects a number or has a number of recipients a day;
 * what is charged stays charged, whatever becomes of the notification.
 *
 * @throws ServiceError payload_too_large, idempotency_key_reused, audience_mismatch, broadcast_limit_reached,
 *   daily_recipients_reached, overloaded
 * @throws what `origin.signal` was aborted with
 */
export async function acceptNotification(
  db: Database,
  input: NotificationInput,
  origin: Origin,
): Promise<{ notification: NotificationResource; replayed: boolean }> {
  if (!fitsMessage(input.subject ?? null, input.payload)) throw new ServiceError('payload_too_large');
  const audience = readAudience(input);
  const draft = { id: uuidv7(), input, audience, hash: hashRequest(input, audience) };
  const isNew = await storeOnce(db, draft, origin);
  const { idempotencyKey: key, actor } = origin;
  const where =
    isNew || key === undefined
      ? { id: draft.id }
      : { created_by_idempotency_key: { created_by: actor.principal, idempotency_key: key } };
  const { request_hash, ...row } = await db.notification.findUniqueOrThrow({ where, omit: { user_ids: true } });
  if (request_hash === null || !draft.hash.equals(request_hash)) throw new ServiceError('idempotency_key_reused');
  return { notification: toResource(toAcceptedRow(row), NO_YARDSTICK), replayed: !isNew };
}

/**
 * Stores a notification unless its key is known. What spares a count is looked up before it; the INSERT finds out by itself.
 *
 * @returns whether it is new.
 */
async function storeOnce(db: Database, draft: Draft, origin: Origin): Promise<boolean> {
  const broadcast = chargeBroadcast(draft.audience, origin.allowances);
  if (!needsCount(draft.input, origin)) return insertNotification(db, { ...draft, charges: broadcast }, origin);
  // In this order: when a rival under the same key has used up the allowance, its notification is found.
  const refusal = await findExceeded(db, origin.actor.principal, broadcast);
  if (await isKnown(db, origin)) return false;
  if (refusal !== null) throw refusal;
  const recipients = await countCharges(db, draft, origin);
  return insertNotification(db, { ...draft, charges: [...broadcast, ...recipients] }, origin);
}

/** Whether the audience is counted before a notification is accepted, which takes seconds where it is large. */
export const needsCount = ({ expected_recipients }: NotificationInput, { allowances }: Pick<Origin, 'allowances'>) =>
  expected_recipients !== undefined || allowances.recipientsPerDay !== null;

const chargeBroadcast = ({ user_ids }: Audience, { broadcastsPerHour }: Allowances): Charge[] =>
  user_ids === null ? [{ kind: 'broadcasts', used: 1, allowed: broadcastsPerHour }] : [];

/** Whether the key was used before. */
async function isKnown(db: Database, { idempotencyKey: idempotency_key, actor }: Origin): Promise<boolean> {
  if (idempotency_key === undefined) return false;
  return (await db.notification.count({ where: { created_by: actor.principal, idempotency_key } })) > 0;
}

/** Counts the audience and holds it against what the caller expects. Returns what its recipients are charged. */
async function countCharges(db: Database, { input, audience }: Draft, origin: Origin): Promise<Charge[]> {
  const { allowances, signal, countInTurn } = origin;
  const { published, by_channel } = await countInTurn(input, signal, () =>
    countRecipients(db, input, audience, signal),
  );
  requireExpected(input, published);
  return allowances.recipientsPerDay === null ? [] : chargeRecipients(by_channel, allowances.recipientsPerDay);
}

function requireExpected(
  { expected_recipients: expected, tolerance = 0 }: NotificationInput,
  recipients: number,
): void {
  if (expected === undefined || Math.abs(recipients - expected) <= tolerance) return;
  const detail = `The audience has ${recipients} recipients instead of ${expected} ± ${tolerance}. Nothing was sent.`;
  throw new ServiceError('audience_mismatch', detail, { members: { recipients } });
}

/**
 * Stores a notification, its record in the audit log and its charges, or nothing of it.
 * `on conflict do nothing` waits for a rival under the same key to commit, so that its row can be read then.
 *
 * @returns whether it is new.
 */
async function insertNotification(
  db: Database,
  { id, input, audience, hash, charges }: Draft & { charges: Charge[] },
  origin: Origin,
): Promise<boolean> {
  const { user_ids, channels } = audience;
  const { principal } = origin.actor;
  const record = audited(origin.actor, {
    ...{ action: 'notification.send', object: `notifications/${id}` },
    outcome: user_ids === null ? 'accepted for everyone' : 'accepted',
  });
  const charging = charges.length === 0 ? Prisma.empty : Prisma.sql`, ${charged(principal, charges)}`;
  const inserting = db.$queryRaw<unknown[]>`
    with written as (insert into notifications (id, subject, payload, user_ids, everyone, channels, status, created_by,
      idempotency_key, request_hash, traceparent, send_at, expires_at, waiting_since, targeted)
    select ${id}::uuid, ${input.subject ?? null}, ${input.payload}, ${user_ids ?? []}::int[], ${user_ids === null},
      ${channels}::text[], case when send_at > now() then 'scheduled' else 'queued' end::notification_status, ${principal},
      ${origin.idempotencyKey ?? null}, ${hash}, ${origin.traceparent ?? null}, send_at,
      ${input.expires_at ?? null}::timestamptz, greatest(now(), send_at), ${user_ids?.length ?? 0}
    from (select ${input.send_at ?? null}::timestamptz as send_at) given
    on conflict (created_by, idempotency_key) do nothing returning id), ${record}${charging}
    select 1 as inserted from written`;
  const inserted = await inserting.catch(async (error: unknown) => {
    throw isAllowanceExceeded(error) ? await explainExceeded(db, principal, charges) : error;
  });
  return inserted.length === 1;
}

/** SHA-256 of what was asked for, whatever the order of its fields, ids or channels. */
function hashRequest(input: NotificationInput, { user_ids, channels }: Audience): Buffer {
  const { payload, subject = null, send_at = null, expires_at = null } = input;
  const { expected_recipients = null, tolerance = 0 } = input;
  const asked = JSON.stringify([
    ...[payload, subject, user_ids, channels, send_at, expires_at],
    ...[expected_recipients, tolerance],
  ]);
  return createHash('sha256').update(asked).digest();
}
