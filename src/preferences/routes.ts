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
import { storePreferences } from './import.ts';
import {
  createPreferenceSchema,
  patchPreferenceSchema,
  preferenceParams,
  preferenceSchema,
  putPreferenceSchema,
} from './schemas.ts';
import {
  createPreference,
  createPreferenceReader,
  deletePreference,
  listPreferences,
  patchPreference,
  putPreference,
} from './service.ts';

const tags = ['Preferences'];

/** `/preferences`: how users want to hear. */
export async function preferenceRoutes(app: FastifyInstance, db: Database, importer: Importer): Promise<void> {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const getPreference = createPreferenceReader(db);

  routes.get('/preferences', { schema: listRoute }, async ({ query, url }, reply) => {
    const preferences = await listPreferences(db, query);
    return reply.headers(linkNext(url, query.limit, preferences, preferences.at(-1)?.user_id)).send(preferences);
  });
  routes.post('/preferences', { schema: createRoute }, async (request, reply) => {
    const preference = await createPreference(db, request.body, getActor(request));
    return reply.code(201).header('location', `/preferences/${preference.user_id}`).send(preference);
  });
  routes.get('/preferences/:user_id', { schema: getRoute }, ({ params }) => getPreference(params.user_id));
  routes.put('/preferences/:user_id', { schema: putRoute }, async (request, reply) => {
    const { params, body } = request;
    requireSameUser(params.user_id, body.user_id);
    const { preference, created } = await putPreference(db, { ...body, user_id: params.user_id }, getActor(request));
    if (created) void reply.header('location', `/preferences/${preference.user_id}`);
    return reply.code(created ? 201 : 200).send(preference);
  });
  routes.patch('/preferences/:user_id', { schema: patchRoute }, (request) =>
    patchPreference(db, { ...request.body, user_id: request.params.user_id }, getActor(request)),
  );
  routes.delete('/preferences/:user_id', { schema: deleteRoute }, async (request, reply) => {
    await deletePreference(db, request.params.user_id, getActor(request));
    return reply.code(204).send(null);
  });
  const line = z.compile(createPreferenceSchema);
  await acceptNdjson(app, (scope) => {
    scope.post('/preferences/import', { schema: importRoute, ...UNHURRIED }, (request, reply) =>
      importer(request, reply, {
        line,
        store: (preferences, turn, keep) => storePreferences(db, preferences, getActor(request), { turn, keep }),
      }),
    );
  });
}

const listRoute = {
  ...requires('preferences:read'),
  ...{ tags, operationId: 'listPreferences', summary: 'List preferences' },
  description: 'In the order of user ids.',
  querystring: userListQuery,
  response: { 200: pageOf(preferenceSchema), ...problems() },
};

const createRoute = {
  ...requires('preferences:write'),
  ...{ tags, operationId: 'createPreference', summary: 'Create preferences' },
  description: 'For a user who has none. The user need not be known yet.',
  body: createPreferenceSchema,
  response: {
    201: preferenceSchema.meta({ description: 'Created.', headers: LOCATION }),
    ...problems('preference_exists', ...BODY_PROBLEMS),
  },
};

const getRoute = {
  ...requires('preferences:read'),
  ...{ tags, operationId: 'getPreference', summary: 'Read preferences' },
  description: 'Of one user. Who has none is told nothing.',
  params: preferenceParams,
  response: { 200: preferenceSchema.describe('The preferences.'), ...problems('preference_not_found') },
};

const putRoute = {
  ...requires('preferences:write'),
  ...{ tags, operationId: 'putPreference', summary: 'Store preferences' },
  description: 'Creates or replaces. An absent channel is off.',
  params: preferenceParams,
  body: putPreferenceSchema,
  response: {
    200: preferenceSchema.describe('Replaced.'),
    201: preferenceSchema.meta({ description: 'Created.', headers: LOCATION }),
    ...problems(...BODY_PROBLEMS),
  },
};

const patchRoute = {
  ...requires('preferences:write'),
  ...{ tags, operationId: 'patchPreference', summary: 'Change preferences' },
  description: 'An absent channel stays as it is.',
  params: preferenceParams,
  body: patchPreferenceSchema,
  response: {
    200: preferenceSchema.describe('The preferences.'),
    ...problems('preference_not_found', ...BODY_PROBLEMS),
  },
};

const deleteRoute = {
  ...requires('preferences:write'),
  ...{ tags, operationId: 'deletePreference', summary: 'Delete preferences' },
  description: 'From then on the user is told nothing.',
  params: preferenceParams,
  response: { 204: z.null().describe('Deleted.'), ...problems('preference_not_found', ...BODY_PROBLEMS) },
};

const importRoute = {
  ...requires('preferences:write'),
  ...{ tags, operationId: 'importPreferences', summary: 'Store many preferences', consumes: [NDJSON] },
  description: IMPORT_DESCRIPTION,
  body: createPreferenceSchema,
  response: {
    200: importResultSchema.describe('What became of the lines.'),
    ...problems('request_timeout', 'unsupported_media_type'),
  },
};
