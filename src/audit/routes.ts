import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Database } from '../database.ts';
import { requires } from '../http/auth.ts';
import { linkNext, pageOf } from '../http/lists.ts';
import { problems } from '../http/problem.ts';
import { auditEntrySchema, auditListQuery } from './schemas.ts';
import { listAuditEntries } from './service.ts';

/** `/audit`: who changed what. */
export function auditRoutes(app: FastifyInstance, db: Database): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.get('/audit', { schema: listRoute }, async ({ query, url }, reply) => {
    const entries = await listAuditEntries(db, query);
    return reply.headers(linkNext(url, query.limit, entries, entries.at(-1)?.id)).send(entries);
  });
}

const listRoute = {
  ...requires('audit:read'),
  ...{ tags: ['Audit'], operationId: 'listAuditEntries', summary: 'List what was changed, and by whom' },
  description: 'Newest first. What was refused changed nothing, and is not here.',
  querystring: auditListQuery,
  response: { 200: pageOf(auditEntrySchema), ...problems() },
};
