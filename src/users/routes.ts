import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Database } from '../database.ts';
import { LOCATION } from '../http/docs.ts';
import { linkNext, pageOf, userListQuery } from '../http/lists.ts';
import { BODY_PROBLEMS, problems } from '../http/problem.ts';
import { requireSameUser } from '../http/same-user.ts';
import { putUserSchema, userParams, userSchema } from './schemas.ts';
import { eraseUser, getUser, listUsers, putUser } from './service.ts';

const tags = ['Users'];

/** `/users`: the mirror of the external user provider. */
export function userRoutes(app: FastifyInstance, db: Database): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();

  routes.get('/users', { schema: listRoute }, async ({ query, url }, reply) => {
    const users = await listUsers(db, query);
    return reply.headers(linkNext(url, query.limit, users, users.at(-1)?.user_id)).send(users);
  });
  routes.get('/users/:user_id', { schema: getRoute }, ({ params }) => getUser(db, params.user_id));
  routes.put('/users/:user_id', { schema: putRoute }, async ({ params, body }, reply) => {
    requireSameUser(params.user_id, body.user_id);
    const { user, created } = await putUser(db, { ...body, user_id: params.user_id });
    if (created) void reply.header('location', `/users/${user.user_id}`);
    return reply.code(created ? 201 : 200).send(user);
  });
  routes.delete('/users/:user_id', { schema: deleteRoute }, async ({ params }, reply) => {
    await eraseUser(db, params.user_id);
    return reply.code(204).send(null);
  });
}

const listRoute = {
  ...{ tags, operationId: 'listUsers', summary: 'List users' },
  description: 'In the order of their ids.',
  querystring: userListQuery,
  response: { 200: pageOf(userSchema), ...problems() },
};

const getRoute = {
  ...{ tags, operationId: 'getUser', summary: 'Read a user' },
  description: 'As last stored from the external provider.',
  params: userParams,
  response: { 200: userSchema.describe('The user.'), ...problems('user_not_found') },
};

const putRoute = {
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
  ...{ tags, operationId: 'eraseUser', summary: 'Erase a user' },
  description: 'Erases the user and their preferences.',
  params: userParams,
  response: { 204: z.null().describe('Erased.'), ...problems('user_not_found', ...BODY_PROBLEMS) },
};
