import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';

const DESCRIPTION = `Users say how they want to hear; internal services say what to tell whom. Every accepted notification becomes
SNS messages whose attributes \`email\` and \`sms\` fan out to one SQS queue per channel.

Errors are problem documents (RFC 9457) with a stable \`code\`. Lists carry a \`Link\` header to their next page.
Every reply carries \`x-request-id\`.`;

/** The OpenAPI document at `/openapi.json`, Swagger UI at `/docs` and ReDoc at `/redoc`: nothing comes from another host. */
export async function serveDocs(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Notification service', version: '1.0.0', description: DESCRIPTION, license: { name: 'MIT' } },
      tags: [
        { name: 'Preferences', description: 'How a user wants to hear. Without preferences a user is told nothing.' },
        { name: 'Users', description: 'A mirror of the external user provider: where each user can be reached.' },
        { name: 'Notifications', description: 'What to tell whom, and what became of it.' },
        { name: 'Operations', description: 'For load balancers and people on call.' },
      ],
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => foldInputs(jsonSchemaTransformObject(document)),
  });
  await app.register(swaggerUi, { routePrefix: '/docs', uiConfig: { tryItOutEnabled: true, deepLinking: true } });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await serveRedoc(app);
}

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
  const folded = JSON.stringify({ ...document, components: { ...components, schemas } });
  return JSON.parse(folded.replace(/("#\/components\/schemas\/\w+?)Input"/g, '$1"'));
}

const REDOC_PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Notification service</title>
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
  app.get('/redoc', { schema: { hide: true } }, (_request, reply) => reply.type('text/html').send(REDOC_PAGE));
  app.get('/redoc/redoc.js', { schema: { hide: true } }, (_request, reply) =>
    reply.type('text/javascript').header('cache-control', 'public, max-age=86400').send(bundle),
  );
}
