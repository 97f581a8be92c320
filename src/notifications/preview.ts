import { randomUUID } from 'node:crypto';
import { CHANNEL_NAMES, type Channel } from '../channels.ts';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { type Audience, countParts, nameIds, type Packing, type PartCounts, readAudience } from './audience.ts';
import { REASONS_FOUND, type Reason, SUPPRESSION_REASONS } from './counts.ts';
import type { NotificationInput } from './input-schema.ts';
import { composeMessages, fitsMessage, type MessageSource, measureRoom } from './message.ts';
import { resolveRange } from './recipients.ts';

/** What a notification would come to, if it were dispatched now and SNS took every message. Counts are users. */
export type Preview = {
  targeted: number;
  published: number;
  suppressed: Record<Reason, number>;
  by_channel: Record<Channel, number>;
  messages: number;
};

/** Who is told does not depend on pages and messages. */
const UNPACKED = { pageUsers: 1_000, recipientsPerMessage: 1, room: 0 };

/**
 * Counts what an input would come to, storing and sending nothing: by the SQL that pages are resolved with, in parts.
 *
 * @throws ServiceError payload_too_large
 * @throws what `signal` was aborted with
 */
export async function previewNotification(
  db: Database,
  input: NotificationInput,
  packing: Packing,
  signal: AbortSignal,
): Promise<Preview> {
  const { subject = null, payload, expires_at } = input;
  if (!fitsMessage(subject, payload)) throw new ServiceError('payload_too_large');
  const audience = readAudience(input);
  const preview = createPreview();
  if (expires_at !== undefined && (await isPast(db, expires_at))) return expireAll(db, audience, preview);
  const source = describeSource(subject, payload);
  for await (const part of countParts(db, audience, { ...packing, room: measureRoom(source) }, signal)) {
    addPart(preview, part);
    for (const page of part.crowded) {
      signal.throwIfAborted();
      preview.messages += await countMessages(db, audience, page, source, packing.recipientsPerMessage);
    }
  }
  return preview;
}

/**
 * Counts who would be told, and on which channels, as a preview does.
 *
 * @throws what `signal` was aborted with
 */
export async function countRecipients(
  db: Database,
  { expires_at }: NotificationInput,
  audience: Audience,
  signal: AbortSignal,
): Promise<Pick<Preview, 'published' | 'by_channel'>> {
  const preview = createPreview();
  if (expires_at !== undefined && (await isPast(db, expires_at))) return preview;
  for await (const part of countParts(db, audience, UNPACKED, signal)) addPart(preview, part);
  return preview;
}

function createPreview(): Preview {
  const zeros = <Key extends string>(keys: readonly Key[]) =>
    Object.fromEntries(keys.map((key) => [key, 0])) as Record<Key, number>;
  return {
    ...{ targeted: 0, published: 0, messages: 0 },
    ...{ suppressed: zeros(SUPPRESSION_REASONS), by_channel: zeros(CHANNEL_NAMES) },
  };
}

function addPart(preview: Preview, part: PartCounts): void {
  preview.targeted += part.targeted;
  preview.published += part.published;
  preview.messages += part.messages;
  for (const reason of REASONS_FOUND) preview.suppressed[reason] += part.suppressed[reason];
  for (const name of CHANNEL_NAMES) preview.by_channel[name] += part.by_channel[name];
}

/** By the clock that the dispatcher goes by. */
async function isPast(db: Database, moment: Date): Promise<boolean> {
  const [row] = await db.$queryRaw<{ past: boolean }[]>`select ${moment}::timestamptz <= now() as past`;
  return row?.past ?? false;
}

/** What the dispatcher does with an audience whose time is up. Ten million are an index-only scan of about a second. */
async function expireAll(db: Database, { user_ids }: Audience, preview: Preview): Promise<Preview> {
  const users = user_ids?.length ?? (await db.user.count());
  return { ...preview, targeted: users, suppressed: { ...preview.suppressed, expired: users } };
}

/** Like the page of a notification: ids and times have one length, and traces a fixed allowance. */
function describeSource(subject: string | null, payload: string): MessageSource {
  return { notification_id: randomUUID(), claimed_at: new Date(), created_by: '', traceparent: null, subject, payload };
}

async function countMessages(
  db: Database,
  { user_ids, channels }: Audience,
  { first, last }: PartCounts['crowded'][number],
  source: MessageSource,
  recipientsPerMessage: number,
): Promise<number> {
  const named = user_ids && nameIds(user_ids.filter((id) => id >= first && id <= last));
  const { recipients } = await resolveRange(db, { named, first_user_id: first, last_user_id: last }, channels);
  return composeMessages(source, recipients, recipientsPerMessage).length;
}
