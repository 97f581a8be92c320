import { z } from 'zod';
import { CHANNEL_NAMES } from '../channels.ts';
import { NotificationStatus } from '../generated/enums.ts';
import { limitParameter, userIdCursor, userIdParameter } from '../http/lists.ts';
import { USER_ID_MAX, userIdSchema } from '../user-id.ts';
import type { Reason } from './counts.ts';

const channelSchema = z.enum(CHANNEL_NAMES);

const count = z.int().min(0).max(USER_ID_MAX);

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
    failed: count.describe('Users whose message SNS refused for good, unless they are being retried.'),
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
    estimated_seconds: z
      .number()
      .min(0)
      .describe(
        'The least time to publish them: at the rate that the service is limited to, else at the default quota of SNS in its region.',
      ),
  })
  .meta({
    id: 'Preview',
    description: 'Always: targeted = published + the sum of suppressed.',
    example: {
      ...{ targeted: 3, published: 2 },
      suppressed: { unknown_user: 0, no_preferences: 1, opted_out: 0, no_contact: 0, canceled: 0, expired: 0 },
      ...{ by_channel: { email: 2, sms: 1 }, messages: 2, estimated_seconds: 0.1 },
    },
  });

/** A notification as the API shows it. */
export const notificationSchema = z
  .object({
    id: z.uuid().describe('In the order of acceptance (UUID version 7).'),
    status: z
      .enum(NotificationStatus)
      .describe(
        '`scheduled` → `queued` → `dispatching` → `completed`; `paused`, or `canceled`, `expired`, on the way. A retry takes it from `completed` to `dispatching`.',
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
    rate: z
      .number()
      .min(0)
      .nullable()
      .describe('Users of the audience done with per second, over the last seconds. null unless it is `dispatching`.'),
    eta: z
      .date()
      .nullable()
      .describe('When it will be completed at this rate. null unless it is `dispatching`, and while nothing moves.'),
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
      ...{ rate: null, eta: null },
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
    published_at: z.date().describe('When the page with this user was settled, or the retry that told them.'),
  })
  .meta({
    id: 'SentMessage',
    example: {
      ...{ user_id: 42, message_id: '8a1f6a5e-27ff-5b1c-8b7e-0f3a9d3c5d11', channels: ['email'] },
      published_at: '2026-01-05T08:30:00.021Z',
    },
  });

/** Whom SNS has refused for good, and why. */
export const failureSchema = z
  .object({
    user_id: userIdSchema,
    code: z.string().describe('The code of SNS.'),
    reason: z.string().describe('What SNS said, without anything in it that looks like an address.'),
  })
  .meta({
    id: 'Failure',
    example: { user_id: 42, code: 'InvalidParameter', reason: 'Invalid parameter: Message too long' },
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

export const failureListQuery = z.strictObject({
  user_id: userIdParameter.optional().meta({ description: 'Only this user.' }),
  limit: limitParameter,
  cursor: userIdCursor,
});
