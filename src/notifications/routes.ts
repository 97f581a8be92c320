import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { requireScope } from '../auth/principal.ts';
import type { Database } from '../database.ts';
import { getActor, getPrincipal, requires } from '../http/auth.ts';
import { LOCATION } from '../http/docs.ts';
import { NOTIFICATION_BODY_BYTES_MAX } from '../http/limits.ts';
import { linkNext, pageOf } from '../http/lists.ts';
import { BODY_PROBLEMS, problems } from '../http/problem.ts';
import { createWaitingRoom, findTraceparent, findWait, whileWanted, withinTime } from '../http/waiting.ts';
import { acceptNotification } from './accept.ts';
import type { Allowances } from './allowances.ts';
import type { Packing } from './audience.ts';
import { createCountQueue } from './count-queue.ts';
import type { Owner } from './lifecycle.ts';
import { previewNotification } from './preview.ts';
import {
  createNotificationHeaders,
  createNotificationSchema,
  type NotificationInput,
  type NotificationResource,
  notificationListQuery,
  notificationParams,
  notificationSchema,
  previewSchema,
  sentMessageListQuery,
  sentMessageSchema,
} from './schemas.ts';
import {
  cancelNotification,
  getNotification,
  listNotifications,
  listSentMessages,
  waitForDispatch,
} from './service.ts';

export type NotificationDeps = {
  db: Database;
  /** Tells the dispatcher of this process that there is work. */
  onAccept: () => void;
  /** Aborted when the process stops: nobody is kept waiting then. */
  stopping: AbortSignal;
  /** How the dispatchers cut pages and pack messages. */
  packing: Packing;
  /** What a principal may send for whom nothing else is said. */
  allowances: Allowances;
};

const tags = ['Notifications'];

/** `/notifications`: accept, preview, read, cancel. */
export function notificationRoutes(app: FastifyInstance, deps: NotificationDeps): void {
  const { db, onAccept, stopping, packing, allowances } = deps;
  const countInTurn = createCountQueue();
  const waitingRoom = createWaitingRoom();
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.post(
    '/notifications',
    { schema: createRoute, bodyLimit: NOTIFICATION_BODY_BYTES_MAX },
    async (request, reply) => {
      requireAudienceScope(request);
      const { dailyRecipients } = getPrincipal(request);
      const { notification, replayed } = await whileWanted(request, stopping, (signal) =>
        acceptNotification(db, request.body, {
          actor: getActor(request),
          allowances: { ...allowances, recipientsPerDay: dailyRecipients ?? allowances.recipientsPerDay },
          idempotencyKey: request.headers['idempotency-key'],
          traceparent: findTraceparent(request),
          ...{ signal, countInTurn },
        }),
      );
      onAccept();
      void reply.header('location', `/notifications/${notification.id}`);
      if (replayed) void reply.header('idempotency-replayed', 'true');
      const seconds = findWait(request.headers.prefer);
      if (seconds === null || isDueAfter(notification, seconds)) return reply.code(202).send(notification);
      const waiting = waitingRoom(() =>
        withinTime(request, seconds, stopping, (signal) => waitForDispatch(db, notification.id, signal)),
      );
      if (waiting === null) return reply.code(202).send(notification);
      void reply.header('preference-applied', `wait=${seconds}`);
      const dispatched = await waiting;
      return reply.code(dispatched ? 200 : 202).send(dispatched ?? notification);
    },
  );
  routes.post('/notifications/preview', { schema: previewRoute, bodyLimit: NOTIFICATION_BODY_BYTES_MAX }, (request) => {
    requireAudienceScope(request);
    return whileWanted(request, stopping, (signal) =>
      countInTurn(request.body, signal, () => previewNotification(db, request.body, packing, signal)),
    );
  });
  routes.get('/notifications', { schema: listRoute }, async (request, reply) => {
    const { query, url } = request;
    const { notifications, full } = await listNotifications(db, findReadable(request), query);
    return reply.headers(linkNext(url, query.limit, notifications, notifications.at(-1)?.id, full)).send(notifications);
  });
  routes.get('/notifications/:id', { schema: getRoute }, (request) =>
    getNotification(db, request.params.id, findReadable(request)),
  );
  routes.get('/notifications/:id/messages', { schema: messagesRoute }, async (request, reply) => {
    const { params, query, url } = request;
    const messages = await listSentMessages(db, params.id, findReadable(request), query);
    return reply.headers(linkNext(url, query.limit, messages, messages.at(-1)?.user_id)).send(messages);
  });
  routes.post('/notifications/:id/cancel', { schema: cancelRoute }, (request) =>
    cancelNotification(db, request.params.id, findCancelable(request), getActor(request)),
  );
}

/** Whether it can only be dispatched when the time is up: then there is no point in waiting. */
const isDueAfter = ({ send_at }: NotificationResource, seconds: number) =>
  send_at !== null && send_at.getTime() > Date.now() + seconds * 1000;

/** Whose notifications a caller reads: their own, or everyone's. */
function findReadable(request: FastifyRequest): Owner {
  const { id, scopes } = getPrincipal(request);
  return scopes.has('notifications:read:all') ? null : id;
}

/** Whose notifications a caller cancels. The answer shows what is canceled, so it has to be within sight, too. */
function findCancelable(request: FastifyRequest): Owner {
  const { id, scopes } = getPrincipal(request);
  return scopes.has('notifications:control') ? findReadable(request) : id;
}

/** Whom a notification is for decides which scope it needs. */
function requireAudienceScope(request: FastifyRequest & { body: NotificationInput }): void {
  const everyone = request.body.user_ids === undefined;
  requireScope(getPrincipal(request), everyone ? 'notifications:broadcast' : 'notifications:send');
}

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

const createRoute = {
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

const previewRoute = {
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

const listRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'listNotifications', summary: 'List notifications' },
  description:
    'One’s own, or everyone’s with `notifications:read:all`; newest first. A page ends before its limit when its subjects and payloads add up to more than 4 MiB; `Link` says whether there is more.',
  querystring: notificationListQuery,
  response: { 200: pageOf(notificationSchema), ...problems() },
};

const getRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'getNotification', summary: 'Read a notification' },
  description: 'With its counts as they are now.',
  params: notificationParams,
  response: { 200: notificationSchema.describe('The notification.'), ...problems('notification_not_found') },
};

const messagesRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'listSentMessages', summary: 'List whom a notification has told' },
  description: 'In the order of user ids, with the SNS message each user was told by.',
  params: notificationParams,
  querystring: sentMessageListQuery,
  response: { 200: pageOf(sentMessageSchema), ...problems('notification_not_found') },
};

const cancelRoute = {
  ...requires('notifications:send', 'notifications:broadcast', 'notifications:control'),
  ...{ tags, operationId: 'cancelNotification', summary: 'Cancel a notification' },
  description:
    'Takes effect within one page: whoever is not covered by a page yet is not told any more. One’s own; with `notifications:control` and `notifications:read:all` anyone’s.',
  params: notificationParams,
  response: {
    200: notificationSchema.describe('The notification.'),
    ...problems('notification_not_found', 'illegal_transition', ...BODY_PROBLEMS),
  },
};
