import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { type IncomingMessage, METHODS } from 'node:http';
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
import { ServiceError } from './errors.ts';
import { serveDocs } from './http/docs.ts';
import { type Readiness, serveHealth } from './http/health.ts';
import { answerClientError, compileValidator, renderError } from './http/problem.ts';
import { type NotificationDeps, notificationRoutes } from './notifications/routes.ts';
import { preferenceRoutes } from './preferences/routes.ts';
import { userRoutes } from './users/routes.ts';

export type AppDeps = NotificationDeps & {
  log: FastifyBaseLogger;
  readiness: Readiness;
  /** False in a process that only dispatches: it answers health checks and nothing else. */
  api: boolean;
};

/** Room for a payload of 256 KiB with every character escaped, and 10,000 user ids. */
const BODY_BYTES_MAX = 2 * 1024 * 1024;
/** A request that has not arrived whole by then is given up. */
const REQUEST_TIMEOUT_MS = 30_000;
/** A connection on which nothing happens is closed; longer than the longest wait for a dispatch. */
const CONNECTION_TIMEOUT_MS = 60_000;
/** What is accepted of a caller as a request id; anything else gets one of ours. */
const REQUEST_ID = /^[\w.-]{1,64}$/;

/** The HTTP side of the service: parsing, routes, documents and errors. It listens nowhere yet. */
export async function buildApp(deps: AppDeps): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: deps.log,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    genReqId: chooseRequestId,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    routerOptions: { ignoreTrailingSlash: true },
    // What arrives on an open connection while the process stops is answered like anything else; `close` waits for it.
    return503OnClosing: false,
    frameworkErrors: refuseUnroutable,
    clientErrorHandler: answerClientError,
  });
  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(renderError);
  parseJson(app);
  logRequests(app);
  refuseUnknownPaths(app);
  const listAllowed = collectMethods(app);
  // First, so that the document has every route after it.
  if (deps.api) await serveDocs(app);
  serveHealth(app, deps.readiness);
  if (deps.api) {
    preferenceRoutes(app, deps.db);
    userRoutes(app, deps.db);
    notificationRoutes(app, deps);
  }
  refuseOtherMethods(app, listAllowed());
  return app;
}

function chooseRequestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
}

/** Only JSON is read. Invalid UTF-8 is refused instead of replaced; an empty body is no body, which a route may allow. */
function parseJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else if (!isUtf8(body)) done(new ServiceError('malformed_request', 'The request body is not valid UTF-8.'));
    else void parse(request, body.toString('utf8'), done);
  });
}

/** One line a request: ids and the route's pattern, never a path, a query or a body, as those may hold anything. */
function logRequests(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => logRequest(request, reply));
}

function logRequest({ log, method, routeOptions }: FastifyRequest, { statusCode, elapsedTime }: FastifyReply): void {
  log.info({ method, route: routeOptions.url, status: statusCode, duration_ms: Math.round(elapsedTime) }, 'request');
}

/** A path that the router cannot read passes all hooks by: malformed percent-encoding, a parameter beyond any length. */
function refuseUnroutable(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  renderError(error, request, reply.header('x-request-id', request.id));
  logRequest(request, reply);
}

/** As soon as it is routed: a fault of its body must not hide that nothing is served under its path. */
function refuseUnknownPaths(app: FastifyInstance): void {
  const refuse = () => {
    throw new ServiceError('route_not_found');
  };
  app.setNotFoundHandler(refuse);
  app.addHook('onRequest', async ({ is404 }) => {
    if (is404) refuse();
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
      schema: { hide: true },
      exposeHeadRoute: false,
      onRequest: async (_request, reply) => {
        reply.header('allow', allow);
        throw new ServiceError('method_not_allowed');
      },
      handler: () => undefined,
    });
  }
}
