import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Database } from '../database.ts';
import { getActor, requires } from '../http/auth.ts';
import { UNHURRIED } from '../http/deadline.ts';
import { LOCATION } from '../http/docs.ts';
import type { Importer } from '../http/import.ts';
import { IMPORT_DESCRIPTION, importResultSchema } from '../http/import-result.ts';
import { linkNext, pageOf, userListQuery } from '../http/lists.ts';
import { acceptNdjson, NDJSON } from '../http/ndjson.ts';
import { BODY_PROBLEMS, problems } from '../http/problem.ts';
import { requireSameUser } from '../http/same-user.ts';
import { storeUsers } from './import.ts';
import { putUserSchema, userLineSchema, userParams, userSchema } from './schemas.ts';
import { createUserReader, eraseUser, listUsers, putUser } from './service.ts';

const tags = ['Users'];

/** `/users`: the mirror of the external user provider. */
export async function userRoutes(app: FastifyInstance, db: Database, importer: Importer): Promise<void> {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const getUser = createUserReader(db);

  routes.get('/users', { schema: listRoute }, async ({ query, url }, reply) => {
    const users = await listUsers(db, query);
    return reply.headers(linkNext(url, query.limit, users, users.at(-1)?.user_id)).send(users);
  });
  routes.get('/users/:user_id', { schema: getRoute }, ({ params }) => getUser(params.user_id));
  routes.put('/users/:user_id', { schema: putRoute }, async (request, reply) => {
    const { params, body } = request;
    requireSameUser(params.user_id, body.user_id);
    const { user, created } = await putUser(db, { ...body, user_id: params.user_id }, getActor(request));
    if (created) void reply.header('location', `/users/${user.user_id}`);
    return reply.code(created ? 201 : 200).send(user);
  });
  routes.delete('/users/:user_id', { schema: deleteRoute }, async (request, reply) => {
    await eraseUser(db, request.params.user_id, getActor(request));
    return reply.code(204).send(null);
  });
  const line = z.compile(userLineSchema);
  await acceptNdjson(app, (scope) => {
    scope.post('/users/import', { schema: importRoute, ...UNHURRIED }, (request, reply) =>
      importer(request, reply, {
        line,
        store: (users, turn, keep) => storeUsers(db, users, getActor(request), { turn, keep }),
      }),
    );
  });
}

const listRoute = {
  ...requires('users:read'),
  ...{ tags, operationId: 'listUsers', summary: 'List users' },
  description: 'In the order of their ids.',
  querystring: userListQuery,
  response: { 200: pageOf(userSchema), ...problems() },
};

const getRoute = {
  ...requires('users:read'),
  ...{ tags, operationId: 'getUser', summary: 'Read a user' },
  description: 'As last stored from the external provider.',
  params: userParams,
  response: { 200: userSchema.describe('The user.'), ...problems('user_not_found') },
};

const putRoute = {
  ...requires('users:write'),
  ...{ tags, operationId: 'putUser', summary: 'Store a user' },
  description: 'Creates or replaces. An absent address is none.',
  params: userParams,
  body: putUserSchema,
  response: {
    200: userSchema.describe('Replaced.'),
    201: userSchema.meta({ description: 'Created.', headers: LOCATION }),
    ...problems(...BODY_PROBLEMS),
  },
};

const deleteRoute = {
  ...requires('users:write'),
  ...{ tags, operationId: 'eraseUser', summary: 'Erase a user' },
  description: 'Erases the user and their preferences.',
  params: userParams,
  response: { 204: z.null().describe('Erased.'), ...problems('user_not_found', ...BODY_PROBLEMS) },
};

const importRoute = {
  ...requires('users:write'),
  ...{ tags, operationId: 'importUsers', summary: 'Store many users', consumes: [NDJSON] },
  description: IMPORT_DESCRIPTION,
  body: userLineSchema,
  response: {
    200: importResultSchema.describe('What became of the lines.'),
    ...problems('request_timeout', 'unsupported_media_type'),
  },
};
