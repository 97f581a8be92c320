import { z } from 'zod';
import { CHANNEL_NAMES } from '../channels.ts';
import { USER_ID_MAX, userIdSchema } from '../user-id.ts';

/** Users a notification may name. More belong into several notifications, or into a broadcast. */
const USER_IDS_MAX = 10_000;
/** The longest line of an e-mail (RFC 5322, section 2.1.1). */
const SUBJECT_CHARS_MAX = 998;
/** The longest Idempotency-Key. */
const IDEMPOTENCY_KEY_CHARS_MAX = 255;
/** Text that PostgreSQL can store and UTF-8 can carry. */
const text = z
  .string()
  .min(1)
  .refine((value) => !value.includes('\0'), 'must not contain the NUL character')
  .refine((value) => value.isWellFormed(), 'must not contain a lone surrogate');

/** A moment within the years that a timestamp can hold on all sides. */
const moment = z.iso
  .datetime({ offset: true, abort: true })
  .refine((value) => {
    const year = new Date(value).getUTCFullYear();
    return year >= 2000 && year <= 9998;
  }, 'must be between the years 2000 and 9998')
  .transform((value) => new Date(value));

/** As many faults as a problem lists. */
const WRONG_IDS_MAX = 100;

/** Of a list with many wrong ids, what the problem will tell of: to zod, a wrong id is fifty times the work of a right one. */
function cutFaults(ids: unknown): unknown {
  if (!Array.isArray(ids) || ids.length > USER_IDS_MAX) return ids;
  let wrong = 0;
  const end = ids.findIndex((id) => {
    if (!(Number.isInteger(id) && id >= 1 && id <= USER_ID_MAX)) wrong += 1;
    return wrong === WRONG_IDS_MAX;
  });
  return end === -1 ? ids : ids.slice(0, end + 1);
}

const count = z.int().min(0).max(USER_ID_MAX);

/** What to tell whom. Without `user_ids` everyone. */
export const createNotificationSchema = z
  .strictObject({
    payload: text.describe('The text. Together with the subject it has to fit an SNS message of 256 KiB.'),
    subject: z.exactOptional(text.max(SUBJECT_CHARS_MAX)).describe('For channels that have one, like e-mail.'),
    user_ids: z
      .exactOptional(z.preprocess(cutFaults, z.array(userIdSchema).max(USER_IDS_MAX)))
      .describe('The audience; an id given twice counts once. Absent: **everyone**.'),
    channels: z.exactOptional(z.array(z.enum(CHANNEL_NAMES)).min(1).max(100)).describe('Absent: all channels.'),
    send_at: z.exactOptional(moment).describe('Not before this time (RFC 3339). In the past: at once.'),
    expires_at: z.exactOptional(moment).describe('Whoever is not told by this time (RFC 3339) is not told any more.'),
    expected_recipients: z
      .exactOptional(count)
      .describe(
        'How many users the caller believes will be told. When the audience has another number, nothing is sent. Checked once, when the notification is accepted, also with `send_at`. For everyone only, without `user_ids`.',
      ),
    tolerance: z
      .exactOptional(count)
      .describe('By how many users `expected_recipients` may be wrong, more or fewer; 0 when absent.'),
  })
  .refine(({ expected_recipients, user_ids }) => expected_recipients === undefined || user_ids === undefined, {
    path: ['expected_recipients'],
    message: 'is for a notification to everyone, without user_ids',
  })
  .refine(({ tolerance, expected_recipients }) => tolerance === undefined || expected_recipients !== undefined, {
    path: ['tolerance'],
    message: 'needs expected_recipients',
  })
  .refine(({ send_at, expires_at }) => !send_at || !expires_at || send_at < expires_at, {
    path: ['expires_at'],
    message: 'must be later than send_at',
  })
  .meta({ id: 'CreateNotification', example: { payload: 'Your statement is ready', user_ids: [1, 2, 3] } });

export type NotificationInput = z.output<typeof createNotificationSchema>;

/** Loose: Fastify replaces the headers by what this returns, and the others are needed too. */
export const createNotificationHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1)
    .max(IDEMPOTENCY_KEY_CHARS_MAX)
    .optional()
    .describe('Makes the call repeatable: the same key and body have one notification and one answer.'),
  prefer: z
    .string()
    .optional()
    .describe(
      '`wait=N` (RFC 7240, N ≤ 30 s): answer when dispatch is done. Ignored when `send_at` is later than that.',
    ),
  traceparent: z.string().optional().describe('A trace (W3C Trace Context). It travels with the messages.'),
});
