import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Database } from '../database.ts';
import { linkNext } from '../http/lists.ts';
import { problems } from '../http/problem.ts';
import {
  createNotificationHeaders,
  createNotificationSchema,
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

/** Until callers are told apart, all are one: `created_by`, the owner of idempotency keys and the message group. */
const CALLER = 'anonymous';
/** The longest that `Prefer: wait` is honoured; a client that asks for more gets this. */
const WAIT_MAX_SECONDS = 30;

/** `/notifications`: accept, read, cancel. */
export function notificationRoutes(app: FastifyInstance, { db, onAccept, stopping }: NotificationDeps): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.post('/notifications', { schema: createRoute }, async (request, reply) => {
    const { notification, replayed } = await acceptNotification(db, request.body, {
      caller: CALLER,
      idempotencyKey: request.headers['idempotency-key'],
      traceparent: findTraceparent(request),
    });
    onAccept();
    void reply.header('location', `/notifications/${notification.id}`);
    if (replayed) void reply.header('idempotency-replayed', 'true');
    const waitSeconds = findWait(request.headers.prefer);
    if (waitSeconds === null) return reply.code(202).send(notification);
    void reply.header('preference-applied', `wait=${waitSeconds}`);
    const dispatched = await waitForDispatch(db, notification.id, untilTimeUp(request, waitSeconds, stopping));
    return reply.code(dispatched ? 200 : 202).send(dispatched ?? notification);
  });
  routes.get('/notifications', { schema: listRoute }, async ({ query, url }, reply) => {
    const notifications = await listNotifications(db, query);
    return reply.headers(linkNext(url, query.limit, notifications, notifications.at(-1)?.id)).send(notifications);
  });
  routes.get('/notifications/:id', { schema: getRoute }, ({ params }) => getNotification(db, params.id));
  routes.get('/notifications/:id/messages', { schema: messagesRoute }, async ({ params, query, url }, reply) => {
    const messages = await listSentMessages(db, params.id, query);
    return reply.headers(linkNext(url, query.limit, messages, messages.at(-1)?.user_id)).send(messages);
  });
  routes.post('/notifications/:id/cancel', { schema: cancelRoute }, ({ params }) => cancelNotification(db, params.id));
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

/** Aborted when the wait is over, the client has left, or the process stops, whichever comes first. */
function untilTimeUp(request: FastifyRequest, seconds: number, stopping: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const end = () => {
    clearTimeout(timer);
    request.raw.socket.off('close', end);
    stopping.removeEventListener('abort', end);
    controller.abort();
  };
  const timer = setTimeout(end, seconds * 1000);
  request.raw.socket.once('close', end);
  stopping.addEventListener('abort', end);
  return controller.signal;
}

const createRoute = {
  ...{ tags, operationId: 'createNotification', summary: 'Send a notification' },
  description:
    'Accepts a notification to the users named, or to **everyone**. It is durable before the answer; dispatch follows in the background, under `Location`.',
  headers: createNotificationHeaders,
  body: createNotificationSchema,
  response: {
    200: notificationSchema.describe('Dispatched, as `Prefer: wait` asked for.'),
    202: notificationSchema.describe('Accepted.'),
    ...problems(400, 413, 415, 422),
  },
};

const listRoute = {
  ...{ tags, operationId: 'listNotifications', summary: 'List notifications' },
  description: 'Newest first.',
  querystring: notificationListQuery,
  response: { 200: z.array(notificationSchema).describe('A page of the list.'), ...problems(400) },
};

const getRoute = {
  ...{ tags, operationId: 'getNotification', summary: 'Read a notification' },
  description: 'With its counts as they are now.',
  params: notificationParams,
  response: { 200: notificationSchema.describe('The notification.'), ...problems(400, 404) },
};

const messagesRoute = {
  ...{ tags, operationId: 'listSentMessages', summary: 'List whom a notification has told' },
  description: 'In the order of user ids, with the SNS message each user was told by.',
  params: notificationParams,
  querystring: sentMessageListQuery,
  response: { 200: z.array(sentMessageSchema).describe('A page of the list.'), ...problems(400, 404) },
};

const cancelRoute = {
  ...{ tags, operationId: 'cancelNotification', summary: 'Cancel a notification' },
  description: 'Takes effect within one page: whoever is not covered by a page yet is not told any more.',
  params: notificationParams,
  response: { 200: notificationSchema.describe('The notification.'), ...problems(400, 404, 409) },
};
