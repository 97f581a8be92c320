import { randomUUID } from 'node:crypto';
import { type IncomingMessage, METHODS } from 'node:http';
import type { Socket } from 'node:net';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
  type RouteOptions,
} from 'fastify';
import { serializerCompiler } from 'fastify-type-provider-zod';
import { auditRoutes } from './audit/routes.ts';
import { ServiceError } from './errors.ts';
import { type Authenticate, PUBLIC, protectRoutes } from './http/auth.ts';
import { answerClientError } from './http/client-error.ts';
import { allowOrigins, PREFLIGHT_ROUTE } from './http/cors.ts';
import { type InTime, limitAnswers } from './http/deadline.ts';
import { serveDocs } from './http/docs.ts';
import { BARE_HEADERS, secureReplies } from './http/headers.ts';
import { type Readiness, serveHealth } from './http/health.ts';
import { createImporter } from './http/import.ts';
import { parseJson } from './http/json.ts';
import { limitConnections, PATIENCE, type Patience, SERVER_LIMITS } from './http/limits.ts';
import type { Metrics } from './http/metrics.ts';
import { shedLoad } from './http/overload.ts';
import { renderError } from './http/problem.ts';
import { limitRates, type RateLimits } from './http/rate-limits.ts';
import { compileValidator } from './http/validation.ts';
import { type NotificationDeps, notificationRoutes } from './notifications/routes.ts';
import { preferenceRoutes } from './preferences/routes.ts';
import { userRoutes } from './users/routes.ts';

export type AppDeps = Omit<NotificationDeps, 'inTime'> & {
  log: FastifyBaseLogger;
  readiness: Readiness;
  metrics: Metrics;
  authenticate: Authenticate;
  /** False in a process that only dispatches: it answers health checks, shows its metrics, and nothing else. */
  api: boolean;
  rateLimits: RateLimits;
  /** Addresses and networks of proxies, whose `X-Forwarded-For` says who calls. */
  trustProxy: string[];
  /** Whose pages may call from a browser. */
  corsOrigins: string[];
  /** How long bodies may take to arrive, and answers to come, if not as long as ever. */
  patience?: Patience;
};

/** What is accepted of a caller as a request id, as it is logged: nothing that may hold a key. Else it gets one of ours. */
const REQUEST_ID = /^(?!.*nk_)[\w.-]{1,64}$/i;

/** The HTTP side of the service: parsing, routes, documents and errors. It listens nowhere yet. */
export async function buildApp({ patience = PATIENCE, ...deps }: AppDeps): Promise<FastifyInstance> {
  const { metrics } = deps;
  const app = Fastify({
    loggerInstance: deps.log,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    genReqId: chooseRequestId,
    ...SERVER_LIMITS,
    trustProxy: deps.trustProxy.length > 0 && deps.trustProxy,
    routerOptions: { ignoreTrailingSlash: true },
    // What arrives on an open connection while the process stops is answered like anything else; `close` waits for it.
    return503OnClosing: false,
    frameworkErrors: (...refused) => refuseUnroutable(metrics, ...refused),
    clientErrorHandler: (error, socket) => refuseUnreadable(deps.log, metrics, error, socket),
  });
  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(renderError);
  parseJson(app);
  const inTime = await guardRequests(app, { ...deps, patience });
  const listAllowed = collectMethods(app);
  // First, so that the document has every route after it.
  if (deps.api) await serveDocs(app);
  serveHealth(app, deps.readiness);
  metrics.serve(app);
  if (deps.api) {
    const importer = createImporter(deps.stopping, patience);
    await preferenceRoutes(app, deps.db, importer);
    await userRoutes(app, deps.db, importer);
    auditRoutes(app, deps.db);
    notificationRoutes(app, { ...deps, inTime });
  }
  refuseOtherMethods(app, listAllowed());
  return app;
}

/** What every request passes, in this order, before it reaches its route. The cheapest and the bluntest come first. */
async function guardRequests(app: FastifyInstance, deps: Required<AppDeps>): Promise<InTime> {
  watchRequests(app, deps.metrics);
  await secureReplies(app);
  // Before anything is refused, or the page that asked could not read why.
  await allowOrigins(app, deps.corsOrigins);
  limitConnections(app, deps.patience);
  const countForPrincipal = await limitRates(app, deps.rateLimits);
  await shedLoad(app);
  refuseUnknownPaths(app);
  const inTime = limitAnswers(app, deps.patience.answerMs);
  protectRoutes(app, { authenticate: deps.authenticate, countRequest: countForPrincipal, inTime });
  return inTime;
}

function chooseRequestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
}

function watchRequests(app: FastifyInstance, metrics: Metrics): void {
  app.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    logRequest(request, reply);
    metrics.countReply(request, reply);
    done();
  });
}

/** One line a request: ids and the route's pattern, never a path, a query or a body, as those may hold anything. */
function logRequest(request: FastifyRequest, { statusCode, elapsedTime }: FastifyReply): void {
  const { log, method, routeOptions, principal } = request;
  const duration_ms = Math.round(elapsedTime);
  // A request that was never routed has no principal, not even none.
  log.info({ method, route: routeOptions.url, status: statusCode, duration_ms, principal: principal?.id }, 'request');
}

/** A path that the router cannot read passes all hooks by: malformed percent-encoding, a parameter beyond any length. */
function refuseUnroutable(metrics: Metrics, error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  renderError(error, request, reply.headers({ ...BARE_HEADERS, 'x-request-id': request.id }));
  logRequest(request, reply);
  metrics.countReply(request, reply);
}

/** What is not even HTTP is answered on its socket, and leaves the same traces. */
function refuseUnreadable(log: FastifyBaseLogger, metrics: Metrics, error: Error, socket: Socket): void {
  const answer = answerClientError(error, socket);
  if (answer === null) return;
  log.info(answer, 'request');
  metrics.countRefusal(answer.status);
}

/** As soon as it is routed: a fault of its body must not hide that nothing is served under its path. */
function refuseUnknownPaths(app: FastifyInstance): void {
  const refuse = () => {
    throw new ServiceError('route_not_found');
  };
  app.setNotFoundHandler(refuse);
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.is404 || request.routeOptions.url === PREFLIGHT_ROUTE) refuse();
    done();
  });
}

/** Notes which methods each path has, as its routes are added. Returns how to read them off. */
function collectMethods(app: FastifyInstance): () => Map<string, Set<string>> {
  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }: RouteOptions) => {
    const known = methods.get(url) ?? new Set();
    for (const name of [method].flat()) known.add(name);
    methods.set(url, known);
  });
  return () => new Map(methods);
}

/** A path that exists answers 405 with `Allow` to every method it has no route for. */
function refuseOtherMethods(app: FastifyInstance, paths: Map<string, Set<string>>): void {
  // CONNECT never reaches a router.
  const methods = METHODS.filter((method) => method !== 'CONNECT');
  for (const method of methods) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
  for (const [url, allowed] of paths) {
    const allow = [...allowed].toSorted().join(', ');
    app.route({
      method: methods.filter((method) => !allowed.has(method)),
      url,
      schema: { hide: true, ...PUBLIC },
      exposeHeadRoute: false,
      onRequest: async (_request, reply) => {
        reply.header('allow', allow);
        throw new ServiceError('method_not_allowed');
      },
      handler: () => undefined,
    });
  }
}
