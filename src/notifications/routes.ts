import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { requireScope } from '../auth/principal.ts';
import type { Database } from '../database.ts';
import { getActor, getPrincipal } from '../http/auth.ts';
import { type InTime, UNHURRIED } from '../http/deadline.ts';
import { createEventSender, EVENT_INTERVAL_MS } from '../http/events.ts';
import { NOTIFICATION_BODY_BYTES_MAX } from '../http/limits.ts';
import { linkNext } from '../http/lists.ts';
import { createWaitingRoom, findTraceparent, findWait, whileWanted, withinTime } from '../http/waiting.ts';
import { acceptNotification, needsCount } from './accept.ts';
import type { Allowances } from './allowances.ts';
import type { Packing } from './audience.ts';
import { createCountQueue } from './count-queue.ts';
import { estimateSeconds } from './default-rate.ts';
import { listFailures } from './failures.ts';
import type { NotificationInput } from './input-schema.ts';
import type { Owner } from './lifecycle.ts';
import { previewNotification } from './preview.ts';
import { createProgressReader } from './progress.ts';
import {
  cancelRoute,
  createRoute,
  eventsRoute,
  failuresRoute,
  getRoute,
  listRoute,
  messagesRoute,
  pauseRoute,
  previewRoute,
  resumeRoute,
  retryRoute,
} from './route-schemas.ts';
import type { NotificationResource } from './schemas.ts';
import {
  controlNotification,
  getNotification,
  listNotifications,
  listSentMessages,
  retryNotification,
  waitForDispatch,
} from './service.ts';

export type NotificationDeps = {
  db: Database;
  /** Tells the dispatcher of this process that there is work. */
  onAccept: () => void;
  /** Aborted when the process stops: nobody is kept waiting then. */
  stopping: AbortSignal;
  /** Ends the wait for an answer of the database. */
  inTime: InTime;
  /** How the dispatchers cut pages and pack messages. */
  packing: Packing;
  /** Messages a second that may be published, by all processes together. */
  publishRate: number;
  /** What a principal may send for whom nothing else is said. */
  allowances: Allowances;
};

/** `/notifications`: accept, preview, read, watch, control. */
export function notificationRoutes(app: FastifyInstance, deps: NotificationDeps): void {
  const { db, onAccept, stopping, inTime, packing, publishRate } = deps;
  const countInTurn = createCountQueue();
  const waitingRoom = createWaitingRoom();
  const readProgress = createProgressReader(db, EVENT_INTERVAL_MS);
  const sendEvents = createEventSender(stopping, inTime);
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.post(
    '/notifications',
    { schema: createRoute, bodyLimit: NOTIFICATION_BODY_BYTES_MAX, ...UNHURRIED },
    async (request, reply) => {
      requireAudienceScope(request);
      const recipientsPerDay = getPrincipal(request).dailyRecipients ?? deps.allowances.recipientsPerDay;
      const allowances = { ...deps.allowances, recipientsPerDay };
      const accepting = whileWanted(request, stopping, (signal) =>
        acceptNotification(db, request.body, {
          ...{ actor: getActor(request), allowances },
          idempotencyKey: request.headers['idempotency-key'],
          traceparent: findTraceparent(request),
          ...{ signal, countInTurn },
        }),
      );
      const counted = needsCount(request.body, { allowances });
      const { notification, replayed } = await (counted ? accepting : inTime(request, accepting));
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
  const counting = { schema: previewRoute, bodyLimit: NOTIFICATION_BODY_BYTES_MAX, ...UNHURRIED };
  routes.post('/notifications/preview', counting, (request) => {
    requireAudienceScope(request);
    return whileWanted(request, stopping, async (signal) => {
      const count = () => previewNotification(db, request.body, packing, signal);
      const preview = await countInTurn(request.body, signal, count);
      return { ...preview, estimated_seconds: estimateSeconds(preview.messages, publishRate) };
    });
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
  routes.get('/notifications/:id/failures', { schema: failuresRoute }, async (request, reply) => {
    const { params, query, url } = request;
    const failures = await listFailures(db, params.id, findReadable(request), query);
    return reply.headers(linkNext(url, query.limit, failures, failures.at(-1)?.user_id)).send(failures);
  });
  // A stream without a body would be nothing to wait for.
  const streamed = { schema: eventsRoute, exposeHeadRoute: false, ...UNHURRIED };
  routes.get('/notifications/:id/events', streamed, async (request, reply) => {
    const owner = findReadable(request);
    await sendEvents(request, reply, () => readProgress(request.params.id, owner));
  });
  const control = (request: ControlRequest, verb: 'cancel' | 'pause' | 'resume') =>
    controlNotification(db, verb, findControlled(request));
  routes.post('/notifications/:id/cancel', { schema: cancelRoute }, (request) => control(request, 'cancel'));
  routes.post('/notifications/:id/pause', { schema: pauseRoute }, (request) => control(request, 'pause'));
  routes.post('/notifications/:id/resume', { schema: resumeRoute }, (request) => control(request, 'resume'));
  routes.post('/notifications/:id/retry', { schema: retryRoute }, async (request) => {
    const notification = await retryNotification(db, findControlled(request));
    onAccept();
    return notification;
  });
}

/** Whether it can only be dispatched when the time is up: then there is no point in waiting. */
const isDueAfter = ({ send_at }: NotificationResource, seconds: number) =>
  send_at !== null && send_at.getTime() > Date.now() + seconds * 1000;

/** Whose notifications a caller reads: their own, or everyone's. */
function findReadable(request: FastifyRequest): Owner {
  const { id, scopes } = getPrincipal(request);
  return scopes.has('notifications:read:all') ? null : id;
}

/** Whose notifications a caller controls. The answer shows which one it was, so it has to be within sight, too. */
function findControllable(request: FastifyRequest): Owner {
  const { id, scopes } = getPrincipal(request);
  return scopes.has('notifications:control') ? findReadable(request) : id;
}

type ControlRequest = FastifyRequest & { params: { id: string } };

/** Which notification a caller controls, and who that is. */
const findControlled = (request: ControlRequest) => ({
  ...{ id: request.params.id, owner: findControllable(request), actor: getActor(request) },
});

/** Whom a notification is for decides which scope it needs. */
function requireAudienceScope(request: FastifyRequest & { body: NotificationInput }): void {
  const everyone = request.body.user_ids === undefined;
  requireScope(getPrincipal(request), everyone ? 'notifications:broadcast' : 'notifications:send');
}
