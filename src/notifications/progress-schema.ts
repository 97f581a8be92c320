import { z } from 'zod';
import { notificationSchema } from './schemas.ts';

/** How far a notification has come: what of it changes, without its text, as it is sent twice a second. */
export const notificationProgressSchema = notificationSchema
  .pick({
    ...{ id: true, status: true, audience: true, started_at: true, completed_at: true },
    ...{ progress: true, rate: true, eta: true, counts: true },
  })
  .meta({
    id: 'NotificationProgress',
    description: 'What is under way of a notification: members of it, as reading it shows them.',
    example: {
      ...{ id: '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55', status: 'dispatching' },
      audience: { type: 'everyone', count: null },
      ...{ started_at: '2026-01-05T08:30:00.004Z', completed_at: null },
      ...{ progress: 0.0123, rate: 8_950.5, eta: '2026-01-05T08:31:52.100Z' },
      counts: {
        ...{ targeted: 12_500, published: 12_100, failed: 0, pending: 200 },
        suppressed: { unknown_user: 0, no_preferences: 120, opted_out: 80, no_contact: 0, canceled: 0, expired: 0 },
        ...{ by_channel: { email: 11_800, sms: 2_400 }, messages: 12_100 },
      },
    },
  });

export type NotificationProgress = z.infer<typeof notificationProgressSchema>;

/** Each event of a stream as a reader of `text/event-stream` gives it; an annotation, as the stream itself is a text. */
const event = {
  type: 'object',
  properties: {
    event: { type: 'string', enum: ['progress', 'end'] },
    id: { type: 'string', const: 'end', description: 'Of the last event only.' },
    data: {
      type: 'string',
      contentMediaType: 'application/json',
      contentSchema: { $ref: '#/components/schemas/NotificationProgress' },
    },
  },
  required: ['event', 'data'],
};

/** Server-sent events of `notificationProgressSchema`. */
export const progressEventsSchema = z
  .string()
  .meta({ contentMediaType: 'text/event-stream', contentSchema: { type: 'array', items: event } });

/** Loose: Fastify replaces the headers by what this returns, and the others are needed too. */
export const progressEventsHeaders = z.looseObject({
  'last-event-id': z
    .string()
    .optional()
    .describe(
      'The id of the last event seen, as a browser sends it when it reconnects. After `end` there is no other.',
    ),
});
