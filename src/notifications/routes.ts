import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { requireScope, type Scope } from '../auth/principal.ts';
import type { Database } from '../database.ts';
import { getActor, getPrincipal, requires } from '../http/auth.ts';
import { LOCATION } from '../http/docs.ts';
import { linkNext, pageOf } from '../http/lists.ts';
import { BODY_PROBLEMS, problems } from '../http/problem.ts';
import type { Owner } from './lifecycle.ts';
import {
  createNotificationHeaders,
  createNotificationSchema,
  type NotificationInput,
  notificationListQuery,
  notificationParams,
  notificationSchema,
  sentMessageListQuery,
  sentMessageSchema,
} from './schemas.ts';
import {
  acceptNotification,
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
};

const tags = ['Notifications'];

/** The longest that `Prefer: wait` is honoured; a client that asks for more gets this. */
const WAIT_MAX_SECONDS = 30;

/** `/notifications`: accept, read, cancel. */
export function notificationRoutes(app: FastifyInstance, { db, onAccept, stopping }: NotificationDeps): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.post('/notifications', { schema: createRoute }, async (request, reply) => {
    requireAudienceScope(request);
    const { notification, replayed } = await acceptNotification(db, request.body, {
      actor: getActor(request),
      idempotencyKey: request.headers['idempotency-key'],
      traceparent: findTraceparent(request),
    });
    onAccept();
    void reply.header('location', `/notifications/${notification.id}`);
    if (replayed) void reply.header('idempotency-replayed', 'true');
    const waitSeconds = findWait(request.headers.prefer);
    if (waitSeconds === null) return reply.code(202).send(notification);
    void reply.header('preference-applied', `wait=${waitSeconds}`);
    const dispatched = await withinTime(request, waitSeconds, stopping, (signal) =>
      waitForDispatch(db, notification.id, signal),
    );
    return reply.code(dispatched ? 200 : 202).send(dispatched ?? notification);
  });
  routes.get('/notifications', { schema: listRoute }, async (request, reply) => {
    const { query, url } = request;
    const notifications = await listNotifications(db, findOwner(request, 'notifications:read:all'), query);
    return reply.headers(linkNext(url, query.limit, notifications, notifications.at(-1)?.id)).send(notifications);
  });
  routes.get('/notifications/:id', { schema: getRoute }, (request) =>
    getNotification(db, request.params.id, findOwner(request, 'notifications:read:all')),
  );
  routes.get('/notifications/:id/messages', { schema: messagesRoute }, async (request, reply) => {
    const { params, query, url } = request;
    const messages = await listSentMessages(db, params.id, findOwner(request, 'notifications:read:all'), query);
    return reply.headers(linkNext(url, query.limit, messages, messages.at(-1)?.user_id)).send(messages);
  });
  routes.post('/notifications/:id/cancel', { schema: cancelRoute }, (request) =>
    cancelNotification(db, request.params.id, findOwner(request, 'notifications:control'), getActor(request)),
  );
}

/** Whose notifications a caller reaches: their own, or with a scope everyone's. */
function findOwner(request: FastifyRequest, everyones: Scope): Owner {
  const { id, scopes } = getPrincipal(request);
  return scopes.has(everyones) ? null : id;
}

/** Whom a notification is for decides which scope it needs. */
function requireAudienceScope(request: FastifyRequest & { body: NotificationInput }): void {
  const everyone = request.body.user_ids === undefined;
  requireScope(getPrincipal(request), everyone ? 'notifications:broadcast' : 'notifications:send');
}

/** The request's trace (W3C Trace Context, version 00), when it has a well-formed one. */
function findTraceparent({ headers }: FastifyRequest): string | undefined {
  const { traceparent } = headers;
  if (typeof traceparent !== 'string') return undefined;
  return /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent) ? traceparent : undefined;
}

/** The seconds of `Prefer: wait=N`, bounded. An unreadable preference is ignored, as RFC 7240 asks. */
function findWait(prefer: string | undefined): number | null {
  const wait = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])/i.exec(prefer ?? '')?.[1];
  return wait === undefined ? null : Math.min(Number(wait), WAIT_MAX_SECONDS);
}

/** Does `work` with a signal that is aborted when the time is up, the client has left, or the process stops. */
async function withinTime<Result>(
  { raw: { socket } }: FastifyRequest,
  seconds: number,
  stopping: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const end = () => controller.abort();
  const timer = setTimeout(end, seconds * 1000);
  socket.once('close', end);
  stopping.addEventListener('abort', end);
  if (stopping.aborted) end();
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    socket.off('close', end);
    stopping.removeEventListener('abort', end);
  }
}

const acceptHeaders = {
  ...LOCATION,
  'Idempotency-Replayed': {
    ...{ type: 'string', const: 'true' },
    description: 'Present when the `Idempotency-Key` was used before: this is the notification of then.',
  },
  'Preference-Applied': {
    ...{ type: 'string', examples: ['wait=10'] },
    description: 'The seconds that `Prefer: wait` was granted. Absent when it was not asked for or not understood.',
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
    ...problems('payload_too_large', 'idempotency_key_reused', ...BODY_PROBLEMS),
  },
};

const listRoute = {
  ...requires('notifications:read', 'notifications:read:all'),
  ...{ tags, operationId: 'listNotifications', summary: 'List notifications' },
  description: 'One’s own, or everyone’s with `notifications:read:all`; newest first.',
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
    'Takes effect within one page: whoever is not covered by a page yet is not told any more. One’s own, or anyone’s with `notifications:control`.',
  params: notificationParams,
  response: {
    200: notificationSchema.describe('The notification.'),
    ...problems('notification_not_found', 'illegal_transition', ...BODY_PROBLEMS),
  },
};
