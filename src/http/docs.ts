import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { PUBLIC, SECURITY_SCHEMES } from './auth.ts';
import { REDOC_HEADERS, SWAGGER_UI_HEADERS } from './headers.ts';
import { NDJSON } from './ndjson.ts';
import { type ProblemResponse, showProblems } from './problem.ts';

const TITLE = 'Notification service';

const DESCRIPTION = `Users say how they want to hear; internal services say what to tell whom. Every accepted notification becomes
SNS messages whose attributes \`email\` and \`sms\` fan out to one SQS queue per channel.

Errors are problem documents (RFC 9457) with a stable \`code\`. Beside those listed with a call, any may answer 400 \`malformed_request\`, 404
\`route_not_found\`, 405 \`method_not_allowed\` with \`Allow\`, 408 \`request_timeout\` and 431 \`headers_too_large\`.
Replies to limited calls carry \`RateLimit-Limit\`, \`RateLimit-Remaining\` and \`RateLimit-Reset\` (in seconds), of the limit that is nearer.
Lists carry a \`Link\` header to their next page. A trailing slash in a path makes no difference.
Every reply carries \`x-request-id\`: the caller's own, when it sent one of at most 64 letters, digits, \`_\`, \`.\` or \`-\`.`;

/** The header of a reply that says where the resource is, for a response's schema. */
export const LOCATION = { Location: { type: 'string', description: 'The path of the resource.' } };

/** Headers that no route names, because the service adds them to whatever a route answers. */
const COMMON_HEADERS = {
  'X-Request-Id': { description: 'Finds the call in our logs.', schema: { type: 'string' } },
  'Retry-After': { description: 'Seconds until another try makes sense.', schema: { type: 'integer' } },
  'RateLimit-Limit': { description: 'Requests allowed in a window of a minute.', schema: { type: 'integer' } },
  'RateLimit-Remaining': { description: 'Those left in this window.', schema: { type: 'integer' } },
  'RateLimit-Reset': { description: 'Seconds until the next window.', schema: { type: 'integer' } },
  'WWW-Authenticate': { description: 'What is missing (RFC 6750).', schema: { type: 'string' } },
};

/** Those that go with a status, when it is a problem. */
const STATUS_HEADERS: Record<string, (keyof typeof COMMON_HEADERS)[]> = {
  401: ['WWW-Authenticate'],
  403: ['WWW-Authenticate'],
  429: ['Retry-After', 'RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset'],
  503: ['Retry-After'],
};

/** The OpenAPI document at `/openapi.json`, Swagger UI at `/docs` and ReDoc at `/redoc`: nothing comes from another host. */
export async function serveDocs(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: TITLE,
        version: '1.0.0',
        description: DESCRIPTION,
        license: { name: 'MIT', url: 'https://opensource.org/license/mit' },
      },
      tags: [
        { name: 'Preferences', description: 'How a user wants to hear. Without preferences a user is told nothing.' },
        { name: 'Users', description: 'A mirror of the external user provider: where each user can be reached.' },
        { name: 'Notifications', description: 'What to tell whom, and what became of it.' },
        { name: 'Audit', description: 'Who changed what.' },
        { name: 'Operations', description: 'For load balancers and people on call.' },
      ],
      components: { securitySchemes: SECURITY_SCHEMES },
    },
    transform: transformRoute,
    transformObject: (document) => describeReplies(showLines(foldInputs(jsonSchemaTransformObject(document)))),
  });
  await app.register(async (pages) => {
    pages.addHook('onRoute', (route) => {
      route.schema = { ...route.schema, ...PAGE };
      route.config = { ...route.config, ...SWAGGER_UI_HEADERS };
    });
    await pages.register(swaggerUi, {
      routePrefix: '/docs',
      theme: { title: TITLE },
      // The base layout has no bar on top that would load documents from anywhere.
      uiConfig: { layout: 'BaseLayout', tryItOutEnabled: true, deepLinking: true, persistAuthorization: false },
    });
  });
  app.get('/openapi.json', { schema: PAGE }, () => app.swagger());
  await serveRedoc(app);
}

/** The schema of what people look at in a browser: for everyone, and not in the document. */
const PAGE = { hide: true, ...PUBLIC };

/** The generator's own, but that it would drop the examples of problems. */
const transformRoute: typeof jsonSchemaTransform = (route) => {
  const transformed = jsonSchemaTransform(route);
  const given = (route.schema?.response ?? {}) as Record<string, Partial<ProblemResponse>>;
  const shown = (transformed.schema?.response ?? {}) as Record<string, { content?: object }>;
  for (const [status, response] of Object.entries(shown)) {
    const { examples } = given[status]?.content?.['application/problem+json'] ?? {};
    if (examples) for (const media of Object.values(response.content ?? {})) Object.assign(media, { examples });
  }
  return transformed;
};

/**
 * The generator emits each schema twice, as `X` for replies and `XInput` for requests. Ours are used on one side only:
 * a schema that a request refers to keeps its input form, under its plain name.
 */
function foldInputs<Document extends object>(document: Document): Document {
  const { components = {}, paths } = document as { components?: { schemas?: object }; paths?: object };
  const schemas: Record<string, unknown> = {};
  const references = JSON.stringify(paths);
  for (const [name, schema] of Object.entries(components.schemas ?? {})) {
    const requested = references.includes(`"#/components/schemas/${name.replace(/Input$/, '')}Input"`);
    if (name.endsWith('Input') === requested) schemas[name.replace(/Input$/, '')] = schema;
  }
  const folded = JSON.stringify({ ...document, components: { ...components, schemas } }, hidePatterns);
  return JSON.parse(folded.replace(/("#\/components\/schemas\/\w+?)Input"/g, '$1"'));
}

/** Formats whose patterns say nothing that the format does not, in lines too long to read. */
const KNOWN_FORMATS = new Set<unknown>(['date-time', 'uuid']);

function hidePatterns(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('format' in value) || !('pattern' in value)) return value;
  return KNOWN_FORMATS.has(value.format) ? { ...value, pattern: undefined } : value;
}

/** Adds two lines as the example of bodies whose schema is that of a line: the example of that schema, for two users. */
function showLines<Document extends object>(document: Document): Document {
  const { components, paths = {} } = document as Lines;
  for (const { requestBody } of Object.values(paths).flatMap((path) => Object.values(path))) {
    const body = requestBody?.content[NDJSON];
    const line = components.schemas[body?.schema.$ref.split('/').at(-1) ?? '']?.example;
    if (body && line) body.example = [line, { ...line, user_id: 43 }].map((one) => `${JSON.stringify(one)}\n`).join('');
  }
  return document;
}

type Lines = {
  components: { schemas: Record<string, { example?: object }> };
  paths?: Record<string, Record<string, { requestBody?: { content: Record<string, Body> } }>>;
};
type Body = { schema: { $ref: string }; example?: string };

/** Adds what replies have in common: the headers of all, or of problems of a status, and the examples of problems. */
function describeReplies<Document extends object>(document: Document): Document {
  const { components, paths = {} } = document as { components?: object; paths?: Record<string, object> };
  for (const operation of Object.values(paths).flatMap((path) => Object.values(path))) {
    for (const [status, reply] of Object.entries((operation as { responses: Record<string, Reply> }).responses)) {
      const isProblem = 'application/problem+json' in (reply.content ?? {});
      const names = [...((isProblem && STATUS_HEADERS[status]) || []), 'X-Request-Id'];
      const common = names.map((name) => [name, { $ref: `#/components/headers/${name}` }]);
      reply.headers = { ...reply.headers, ...Object.fromEntries(common) };
    }
  }
  return { ...document, components: { ...components, headers: COMMON_HEADERS, examples: showProblems() } };
}

type Reply = { headers?: object; content?: object };

const REDOC_PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${TITLE}</title>
    <link rel="icon" href="data:,">
    <style>body { margin: 0 }</style>
  </head>
  <body>
    <redoc spec-url="/openapi.json" disable-search="false"></redoc>
    <script src="/redoc/redoc.js"></script>
  </body>
</html>
`;

/** ReDoc's own bundle, but for the one address of another host in it: the logo beside "powered by". */
async function serveRedoc(app: FastifyInstance): Promise<void> {
  const path = createRequire(import.meta.url).resolve('redoc/bundles/redoc.standalone.js');
  const bundle = (await readFile(path, 'utf8')).replaceAll('https://cdn.redoc.ly/redoc/logo-mini.svg', 'data:,');
  const page = { schema: PAGE, config: REDOC_HEADERS };
  app.get('/redoc', page, (_request, reply) => reply.type('text/html').send(REDOC_PAGE));
  app.get('/redoc/redoc.js', page, (_request, reply) =>
    reply.type('text/javascript').header('cache-control', 'public, max-age=86400').send(bundle),
  );
}
