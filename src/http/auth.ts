import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import type { Actor } from '../audit/record.ts';
import { type Principal, requireScope, type Scope } from '../auth/principal.ts';
import type { InTime } from './deadline.ts';
import type { CountRequest } from './rate-limits.ts';

/**
 * Says who calls, from the value of the `Authorization` header. Why it refuses goes to the log.
 *
 * @throws ServiceError credentials_missing, credentials_invalid, credentials_unverifiable, unavailable
 */
export type Authenticate = (authorization: string | undefined, log: FastifyBaseLogger) => Promise<Principal>;

/** The two ways to prove who calls, as the document names them. Both are bearer tokens. */
export const SECURITY_SCHEMES = {
  ApiKey: {
    ...{ type: 'http' as const, scheme: 'bearer', bearerFormat: 'nk_<id>_<secret>' },
    description: 'A key made by `npm run api-key -- create`.',
  },
  Jwt: {
    ...{ type: 'http' as const, scheme: 'bearer', bearerFormat: 'JWT' },
    description: 'A token of the configured issuer, with its scopes in `scope`. Only where one is configured.',
  },
};

type SecurityRequirement = Partial<Record<keyof typeof SECURITY_SCHEMES, Scope[]>>;

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls; on a route for everyone, nobody asks. */
    principal: Principal | null;
  }
}

/** The `security` of a route's schema: one of these scopes is needed. */
export function requires(...anyOf: Scope[]): { security: SecurityRequirement[] } {
  return { security: anyOf.flatMap((scope) => [{ ApiKey: [scope] }, { Jwt: [scope] }]) };
}

/** The `security` of a route for everyone. */
export const PUBLIC: { security: SecurityRequirement[] } = { security: [] };

/**
 * Lets nobody pass who is not known, or lacks the scope that the route declares. Refuses to start with a route that
 * declares neither a scope nor that it is for everyone.
 */
export function protectRoutes(
  app: FastifyInstance,
  { authenticate, countRequest, inTime }: { authenticate: Authenticate; countRequest: CountRequest; inTime: InTime },
): void {
  const routes: RouteOptions[] = [];
  app.addHook('onRoute', (route) => void routes.push(route));
  app.addHook('onReady', async () => requireDeclarations(routes));
  app.decorateRequest('principal', null);
  app.addHook('onRequest', async (request, reply) => {
    const scopes = listScopes(request.routeOptions.schema);
    if (request.is404 || scopes?.length === 0) return;
    request.principal = await inTime(request, authenticate(request.headers.authorization, request.log));
    await countRequest(request, reply);
    requireScope(request.principal, ...(scopes ?? []));
  });
}

/** Who calls a route that declares a scope. */
export function getPrincipal({ principal }: FastifyRequest): Principal {
  if (principal === null) throw new Error('A route for everyone asks who calls.');
  return principal;
}

/** Who changes something by this request, for the audit log. */
export function getActor(request: FastifyRequest): Actor {
  return { principal: getPrincipal(request).id, requestId: request.id };
}

function requireDeclarations(routes: RouteOptions[]): void {
  for (const { method, url, schema } of routes) {
    if (listScopes(schema) === undefined) throw new Error(`${[method].flat().join()} ${url} declares no scope.`);
  }
}

/** The scopes of which a route needs one; none: it is for everyone; undefined: it does not say. */
function listScopes(schema: RouteOptions['schema']): Scope[] | undefined {
  const { security } = (schema ?? {}) as { security?: SecurityRequirement[] };
  return security?.flatMap((requirement) => requirement.ApiKey ?? []);
}
