import { z } from 'zod';
import { requires } from '../http/auth.ts';
import { LOCATION } from '../http/docs.ts';
import { pageOf } from '../http/lists.ts';
import { BODY_PROBLEMS, problems } from '../http/problem.ts';
import { createNotificationHeaders, createNotificationSchema } from './input-schema.ts';
import { progressEventsHeaders, progressEventsSchema } from './progress-schema.ts';
import {
  failureListQuery,
  failureSchema,
  notificationListQuery,
  notificationParams,
  notificationSchema,
  previewSchema,
  sentMessageListQuery,
  sentMessageSchema,
} from './schemas.ts';

const tags = ['Notifications'];

const acceptHeaders = {
  ...LOCATION,
  'Idempotency-Replayed': {
    ...{ type: 'string', const: 'true' },
    description: 'Present when the `Idempotency-Key` was used before: this is the notification of then.',
  },
  'Preference-Applied': {
    ...{ type: 'string', examples: ['wait=10'] },
    description:
      'The seconds that `Prefer: wait` was granted. Absent when it was not waited: not asked for, not understood, `send_at` is later, or too many wait already.',
  },
};

export const createRoute = {
  ...requires('notifications:send', 'notifications:broadcast'),
  ...{ tags, operationId: 'createNotification', summary: 'Send a notification' },
  description:
    'Accepts a notification to the users named (scope `notifications:send`), or to **everyone** (scope `notifications:broadcast`). It is durable before the answer; dispatch follows in the background, under `Location`.',
  headers: createNotificationHeaders,
  body: createNotificationSchema,
  response: {
    200: notificationSchema.meta({ description: 'Dispatched, as `Prefer: wait` asked for.', headers: acceptHeaders }),
    202: notificationSchema.meta({ description: 'Accepted.', headers: acceptHeaders }),
    ...problems(
      ...(['payload_too_large', 'idempotency_key_reused', 'audience_mismatch'] as const),
      ...(['broadcast_limit_reached', 'daily_recipients_reached'] as const),
      ...BODY_PROBLEMS,
    ),
  },
};

export const previewRoute = {
  ...requires('notifications:send', 'notifications:broadcast'),
  ...{ tags, operationId: 'previewNotification', summary: 'Count what a notification would come to' },
  description:
    'Takes the body of a notification and answers with the counts that it would have if it were dispatched now and SNS took every message. Nothing is stored or sent, and `expected_recipients` is not looked at. Large audiences are counted a few at a time; when many wait for that already, the answer is 503.',
  body: createNotificationSchema,
  response: {
    200: previewSchema.describe('What the notification would come to.'),
    ...problems('payload_too_large', ...BODY_PROBLEMS),
  },
};

export const listRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'listNotifications', summary: 'List notifications' },
  description:
    'One’s own, or everyone’s with `notifications:read:all`; newest first. A page ends before its limit when its subjects and payloads add up to more than 4 MiB; `Link` says whether there is more.',
  querystring: notificationListQuery,
  response: { 200: pageOf(notificationSchema), ...problems() },
};

export const getRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'getNotification', summary: 'Read a notification' },
  description: 'With its counts as they are now.',
  params: notificationParams,
  response: { 200: notificationSchema.describe('The notification.'), ...problems('notification_not_found') },
};

export const messagesRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'listSentMessages', summary: 'List whom a notification has told' },
  description: 'In the order of user ids, with the SNS message each user was told by.',
  params: notificationParams,
  querystring: sentMessageListQuery,
  response: { 200: pageOf(sentMessageSchema), ...problems('notification_not_found') },
};

export const failuresRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'listFailures', summary: 'List whom SNS has refused' },
  description:
    'In the order of user ids, with what SNS gave for a reason; as many as `failed` counts. E-mail addresses and phone numbers in it are hidden. Who is being retried is pending, and not in the list.',
  params: notificationParams,
  querystring: failureListQuery,
  response: { 200: pageOf(failureSchema), ...problems('notification_not_found') },
};

export const eventsRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'watchNotification', summary: 'Watch a notification' },
  description:
    'A stream of server-sent events (WHATWG HTML, section 9.2). At once, and then whenever it has changed, at most twice a second, an event `progress` with a `NotificationProgress` as its data. When nothing is left to do, pages of a canceled one included, the event `end` instead, with the id `end` and the counts as they stay, and the stream ends; one that ends without it, at the latest after five minutes, goes on where the client reconnects. A retry after the end takes a new stream, without `Last-Event-ID`. Lines that begin with a colon are comments, which keep the connection open.',
  params: notificationParams,
  headers: progressEventsHeaders,
  response: {
    200: {
      description: 'Events, as they happen.',
      content: { 'text/event-stream': { schema: progressEventsSchema } },
    },
    204: z.null().describe('`Last-Event-ID` is `end`: there are no more events, and no need to reconnect.'),
    ...problems('notification_not_found'),
  },
};

/** The ways to control a notification take and answer the same. */
const controlRoute = {
  ...requires('notifications:send', 'notifications:broadcast', 'notifications:control'),
  tags,
  params: notificationParams,
  response: {
    200: notificationSchema.describe('The notification.'),
    ...problems('notification_not_found', 'illegal_transition', ...BODY_PROBLEMS),
  },
};

export const cancelRoute = {
  ...controlRoute,
  ...{ operationId: 'cancelNotification', summary: 'Cancel a notification' },
  description:
    'Takes effect within one page: whoever is not covered by a page yet is not told any more. One’s own; with `notifications:control` and `notifications:read:all` anyone’s.',
};

export const pauseRoute = {
  ...controlRoute,
  ...{ operationId: 'pauseNotification', summary: 'Pause a notification' },
  description:
    'Takes effect within one page: from the answer on no process claims a page of it, and those under way are finished. It still expires when its time comes. Whose: as for canceling.',
};

export const resumeRoute = {
  ...controlRoute,
  ...{ operationId: 'resumeNotification', summary: 'Resume a notification' },
  description:
    'It goes on where it was paused; nobody is told twice. What is not paused, and has not ended, stays as it is. Whose: as for canceling.',
};

export const retryRoute = {
  ...controlRoute,
  ...{ operationId: 'retryNotification', summary: 'Retry those whom SNS has refused' },
  description:
    'Publishes a completed notification again to exactly those who failed, by their preferences of now and under the same dedup keys. They are pending from the answer on, and it is dispatching until it is completed again. When nobody has failed, or a retry is under way, it stays as it is. Otherwise 409: it is not completed, was canceled, or has expired. Whose: as for canceling.',
};
