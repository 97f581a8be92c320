import { z } from 'zod';
import { CHANNEL_NAMES } from '../channels.ts';
import { NotificationStatus } from '../generated/enums.ts';
import { limitParameter, userIdCursor, userIdParameter } from '../http/lists.ts';
import { USER_ID_MAX, userIdSchema } from '../user-id.ts';
import type { Reason } from './counts.ts';

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

const channelSchema = z.enum(CHANNEL_NAMES);

const count = z.int().min(0).max(USER_ID_MAX);

/** What to tell whom. Without `user_ids` everyone. */
export const createNotificationSchema = z
  .strictObject({
    payload: text.describe('The text. Together with the subject it has to fit an SNS message of 256 KiB.'),
    subject: z.exactOptional(text.max(SUBJECT_CHARS_MAX)).describe('For channels that have one, like e-mail.'),
    user_ids: z
      .exactOptional(z.preprocess(cutFaults, z.array(userIdSchema).max(USER_IDS_MAX)))
      .describe('The audience; an id given twice counts once. Absent: **everyone**.'),
    channels: z.exactOptional(z.array(channelSchema).min(1).max(100)).describe('Absent: all channels.'),
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

const perReason = {
  unknown_user: count.describe('Nobody has the id.'),
  no_preferences: count.describe('They have no preferences.'),
  opted_out: count.describe('None of the channels wanted is on.'),
  no_contact: count.describe('A channel wanted is on, but there is no address for it.'),
  canceled: count.describe('It was canceled before their page.'),
  expired: count.describe('It expired before their page.'),
} satisfies Record<Reason, z.ZodType>;
const perChannel = Object.fromEntries(CHANNEL_NAMES.map((channel) => [channel, count]));

const countsSchema = z
  .object({
    targeted: count.describe('Users of the audience; for everyone it grows until the audience is exhausted.'),
    published: count.describe('Users told on at least one channel.'),
    failed: count.describe('Users whose message SNS refused for good.'),
    pending: count.describe('Users of whom nothing is known yet.'),
    suppressed: z.object(perReason).describe('Users not told, each under the first reason that applies.'),
    by_channel: z.object(perChannel).describe('Users told, per channel.'),
    messages: count.describe('SNS messages published.'),
  })
  .describe('Always: targeted = published + the sum of suppressed + failed + pending.')
  .meta({ id: 'Counts' });

/** What a notification would come to. */
export const previewSchema = z
  .object({
    targeted: count.describe('Users of the audience.'),
    ...countsSchema.pick({ published: true, suppressed: true, by_channel: true }).shape,
    messages: count.describe('SNS messages that would be published.'),
  })
  .meta({
    id: 'Preview',
    description: 'Always: targeted = published + the sum of suppressed.',
    example: {
      ...{ targeted: 3, published: 2 },
      suppressed: { unknown_user: 0, no_preferences: 1, opted_out: 0, no_contact: 0, canceled: 0, expired: 0 },
      ...{ by_channel: { email: 2, sms: 1 }, messages: 2 },
    },
  });

/** A notification as the API shows it. */
export const notificationSchema = z
  .object({
    id: z.uuid().describe('In the order of acceptance (UUID version 7).'),
    status: z
      .enum(NotificationStatus)
      .describe(
        '`scheduled` → `queued` → `dispatching` → `completed`; or `canceled`, `expired` on the way. `paused` is reserved.',
      ),
    subject: z.string().nullable().describe('null when it has none.'),
    payload: z.string().describe('The text.'),
    audience: z.object({
      type: z.enum(['users', 'everyone']).describe('`users`: those named. `everyone`: every user of the mirror.'),
      count: count.nullable().describe('null while the audience `everyone` is not exhausted.'),
    }),
    channels: z.array(channelSchema).describe('The channels it may use.'),
    created_at: z.date().describe('When it was accepted.'),
    send_at: z.date().nullable().describe('Not dispatched before.'),
    expires_at: z.date().nullable().describe('Not dispatched after.'),
    started_at: z.date().nullable().describe('When its first page was claimed.'),
    completed_at: z.date().nullable().describe('When it was completed, canceled or expired.'),
    progress: z
      .number()
      .min(0)
      .max(1)
      .describe('The share of the audience that is done with; an estimate for `everyone`.'),
    counts: countsSchema,
  })
  .meta({
    id: 'Notification',
    example: {
      ...{ id: '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55', status: 'completed', subject: null },
      payload: 'Your statement is ready',
      audience: { type: 'users', count: 3 },
      channels: ['email', 'sms'],
      created_at: '2026-01-05T08:30:00.000Z',
      ...{ send_at: null, expires_at: null },
      ...{ started_at: '2026-01-05T08:30:00.004Z', completed_at: '2026-01-05T08:30:00.021Z', progress: 1 },
      counts: {
        ...{ targeted: 3, published: 2, failed: 0, pending: 0 },
        suppressed: { unknown_user: 0, no_preferences: 1, opted_out: 0, no_contact: 0, canceled: 0, expired: 0 },
        ...{ by_channel: { email: 2, sms: 1 }, messages: 2 },
      },
    },
  });

export type NotificationResource = z.infer<typeof notificationSchema>;

/** Whom a notification has told, and under which SNS message. */
export const sentMessageSchema = z
  .object({
    user_id: userIdSchema,
    message_id: z.uuid().describe('The MessageId that SNS gave; its delivery logs show the same.'),
    channels: z.array(channelSchema).describe('The channels this user was told on.'),
    published_at: z.date().describe('When the page with this user was settled.'),
  })
  .meta({
    id: 'SentMessage',
    example: {
      ...{ user_id: 42, message_id: '8a1f6a5e-27ff-5b1c-8b7e-0f3a9d3c5d11', channels: ['email'] },
      published_at: '2026-01-05T08:30:00.021Z',
    },
  });

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

export const notificationParams = z.object({ id: z.uuid().describe('The id of a notification.') });

export const notificationListQuery = z.strictObject({
  status: z.enum(NotificationStatus).optional().describe('Only those in this state.'),
  limit: limitParameter,
  cursor: z.uuid().optional().describe('Where the previous page ended; taken from its `Link` header.'),
});

export const sentMessageListQuery = z.strictObject({
  user_id: userIdParameter.optional().meta({ description: 'Only the message to this user.' }),
  limit: limitParameter,
  cursor: userIdCursor,
});
