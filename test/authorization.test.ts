import { randomUUID } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { METHODS, request } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import type { FastifyInstance, RouteOptions } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { revokeApiKeys } from '../src/auth/api-keys.ts';
import { makeKey } from '../src/auth/key-text.ts';
import { SCOPE_NAMES, type Scope } from '../src/auth/principal.ts';
import { startTestApp } from './support/app.ts';
import { bearer, createTestKey, type Issuer, startGuardedService, startIssuer } from './support/auth.ts';
import { listOperations, type Operation } from './support/operations.ts';
import { readRows } from './support/rows.ts';
import { findSample, storeSampleRows } from './support/samples.ts';
import { call, type Reply, type TestService } from './support/service.ts';

/** The pages for people, which the document does not list. */
const PAGE = /^\/(docs|redoc|openapi\.json)(\/|$)/;

let service: TestService & { key: string };
let issuer: Issuer;
/** Claims to be the issuer, key id included, without its key. */
let forger: Issuer;
let routes: RouteOptions[];
let operations: Operation[];
/** Every way into something that is not for everyone. */
let guarded: Entrance[];

type Entrance = { operation: Operation; method: string };

beforeAll(async () => {
  [issuer, forger] = await Promise.all([startIssuer(), startIssuer()]);
  // A process that only accepts: what is stored here stays as it is.
  const watch = watchFastify((fastify) => fastify.addHook('onRoute', (route) => void routes.push(route)));
  routes = [];
  service = await startGuardedService({ ...issuer.env, ROLE: 'api' });
  watch.stop();
  operations = await listOperations(service);
  guarded = listEntrances(operations.filter(({ scopes }) => scopes.length > 0));
  await storeSampleRows(service.db, 'key:root');
});

afterAll(() => Promise.all([service.stop(), issuer.stop(), forger.stop()]));

/** Does something with every Fastify that is created from now on. */
function watchFastify(use: (fastify: FastifyInstance) => unknown): { stop: () => void } {
  const listener = (message: unknown) => void use((message as { fastify: FastifyInstance }).fastify);
  subscribe('fastify.initialization', listener);
  return { stop: () => unsubscribe('fastify.initialization', listener) };
}

/** HEAD is a way into whatever GET is, but for streams. */
function listEntrances(of: Operation[]): Entrance[] {
  return of.flatMap((operation) =>
    operation.method === 'GET' && !operation.isStream
      ? [
          { operation, method: 'GET' },
          { operation, method: 'HEAD' },
        ]
      : [{ operation, method: operation.method }],
  );
}

/** Makes a valid call of an operation. */
function enter({ operation, method }: Entrance, authorization?: string, scope?: Scope): Promise<Reply> {
  const { path, body, headers } = findSample(operation, scope);
  return call(service, method, path, body, { ...headers, ...(authorization !== undefined && { authorization }) });
}

const nameOf = ({ operation, method }: Entrance) => `${method} ${operation.template}`;

/** What is not as it should be, by entrance; rows that changed are a fault of whatever was tried. */
async function findFaults(tries: Entrance[], judge: (entrance: Entrance) => Promise<string[]>): Promise<string[]> {
  const before = await readRows(service.db);
  const faults: string[] = [];
  for (const entrance of tries) {
    for (const fault of await judge(entrance)) faults.push(`${nameOf(entrance)}: ${fault}`);
  }
  return isDeepStrictEqual(await readRows(service.db), before) ? faults : [...faults, 'Rows have changed.'];
}

/** What a refusal lacks; a reply to HEAD says it in its headers alone. */
function judgeRefusal(reply: Reply, expected: { status: number; challenge: string; problem: object }): string[] {
  const { status, headers, body } = reply;
  const faults: string[] = [];
  if (status !== expected.status) faults.push(`${status} instead of ${expected.status}`);
  const challenge = headers.get('www-authenticate');
  if (challenge !== expected.challenge) faults.push(`WWW-Authenticate: ${challenge}`);
  if (body === '') return faults;
  for (const [member, value] of Object.entries(expected.problem)) {
    const given = JSON.stringify((body as Record<string, unknown>)[member]);
    if (given !== JSON.stringify(value)) faults.push(`${member}: ${given}`);
  }
  return faults;
}

const MISSING = {
  ...{ status: 401, challenge: 'Bearer realm="notifications"' },
  problem: { code: 'credentials_missing' },
};
const INVALID = {
  ...{ status: 401, challenge: 'Bearer realm="notifications", error="invalid_token"' },
  problem: { code: 'credentials_invalid' },
};

function lacking(scopes: Scope[]) {
  const scope = scopes.join(' ');
  return {
    ...{ status: 403, challenge: `Bearer realm="notifications", error="insufficient_scope", scope="${scope}"` },
    problem: { code: 'scope_missing', scopes },
  };
}

const HOUR_SECONDS = 3_600;
const now = () => Math.floor(Date.now() / 1000);
const everything = SCOPE_NAMES.join(' ');

/** Replaces a character in the middle of a token's last part, each bit of which counts. */
function tamper(token: string): string {
  const place = token.length - 20;
  return token.slice(0, place) + (token[place] === 'A' ? 'B' : 'A') + token.slice(place + 1);
}

/** Values of `Authorization` that prove nothing. Each is that of somebody who may do everything, but for one thing. */
const REFUSED: [name: string, make: () => Promise<string>][] = [
  ['an empty header', async () => ''],
  ['another scheme', async () => `Basic ${Buffer.from(`root:${service.key}`).toString('base64')}`],
  ['a key under another scheme', async () => `Basic ${service.key}`],
  ['a key without a scheme', async () => service.key],
  ['a scheme without a key', async () => 'Bearer'],
  ['two keys', async () => `Bearer ${service.key} ${service.key}`],
  ['a key and more', async () => `Bearer ${service.key},`],
  ['a malformed key', async () => 'Bearer nk_x'],
  ['the id of a key', async () => `Bearer ${service.key.slice(0, -44)}`],
  ['an unknown key', async () => `Bearer ${makeKey().text}`],
  ['a key with another secret', async () => `Bearer ${service.key.slice(0, -43)}${makeKey().secret}`],
  ['a revoked key', makeRevokedKey],
  ['an expired key', makeExpiredKey],
  ['no JWT', async () => 'Bearer a.b.c'],
  ['an expired JWT', () => makeToken({ iat: now() - HOUR_SECONDS, exp: now() - 1 })],
  ['a JWT for another audience', () => makeToken({ aud: 'payments' })],
  ['a JWT of another issuer', () => makeToken({ iss: 'http://issuer.example' })],
  ['a JWT with another signature', async () => tamper(await makeToken({}))],
  ['a JWT signed by somebody else', () => makeToken({ iss: issuer.issuer }, forger)],
];

async function makeRevokedKey(): Promise<string> {
  const name = randomUUID();
  const key = await createTestKey(service.db, { name });
  await revokeApiKeys(service.db, { name });
  return `Bearer ${key}`;
}

async function makeExpiredKey(): Promise<string> {
  return `Bearer ${await createTestKey(service.db, { name: randomUUID(), expiresInSeconds: -1 })}`;
}

const makeToken = async (claims: Record<string, unknown>, by: Issuer = issuer) =>
  `Bearer ${await by.sign({ scope: everything, ...claims })}`;

describe('the routes', () => {
  it('are those of the document, the pages for people, and refusals of other methods', async () => {
    const documented = new Set(listEntrances(operations).map(nameOf));
    const templates = new Set(operations.map(({ template }) => template));
    const served = routes.flatMap(({ method, url, schema }) =>
      [method].flat().map((name) => {
        const template = url.replaceAll(/:(\w+)/g, '{$1}');
        return { method: name, template, name: `${name} ${template}`, hidden: schema?.hide === true };
      }),
    );

    const hidden = served.filter(({ name }) => !documented.has(name));
    const strangers = hidden.filter(({ template }) => !PAGE.test(template) && !templates.has(template));
    const answered: string[] = [];
    for (const { method, template, name } of hidden.filter((route) => templates.has(route.template))) {
      const status = await ask(method, template.replace('{user_id}', '1').replace('{id}', 'x'), bearer(service.key));
      if (status !== 405) answered.push(`${name}: ${status}`);
    }

    expect(strangers).toEqual([]);
    expect(answered).toEqual([]);
    expect([...documented].filter((name) => !served.some((route) => route.name === name))).toEqual([]);
    expect(hidden.filter((route) => !route.hidden)).toEqual([]);
    expect(guarded.length).toBeGreaterThan(20);
  });

  it('need scopes of what they serve, to read it with GET and to change it otherwise', () => {
    const odd = guarded.filter(({ operation: { template, method, scopes } }) =>
      scopes.some((scope) => {
        const [resource, verb] = scope.split(':');
        return !template.startsWith(`/${resource}`) || (verb === 'read') !== (method === 'GET');
      }),
    );

    expect(odd.map(nameOf)).toEqual([]);
  });

  it('each say who may call them, or the service does not start', async () => {
    const watch = watchFastify((fastify) =>
      fastify.addHook('onRoute', ({ url, method }) => {
        if (url === '/health/live' && method === 'GET') fastify.post('/undeclared', () => 'Come in');
      }),
    );

    const starting = startTestApp();

    await expect(starting).rejects.toThrow('POST /undeclared declares no scope');
    watch.stop();
  });
});

/** Sends a request by any method, and returns the status. With `announced` bytes of a body, it sends none of them. */
async function ask(method: string, path: string, headers: object, announced?: number): Promise<number | undefined> {
  const length = announced === undefined ? {} : { 'content-type': 'application/json', 'content-length': announced };
  const asking = request(`${service.url}${path}`, { method, headers: { ...headers, ...length } });
  if (announced === undefined) asking.end();
  else asking.flushHeaders();
  const [{ statusCode }] = (await once(asking, 'response')) as [{ statusCode?: number }];
  asking.destroy();
  return statusCode;
}

describe('a caller who is not known', () => {
  it('is asked for credentials by every route that is not for everyone', async () => {
    const faults = await findFaults(guarded, async (entrance) => judgeRefusal(await enter(entrance), MISSING));

    expect(faults).toEqual([]);
  });

  it.each(REFUSED)('is refused by every route that is not for everyone: %s', async (_name, make) => {
    const authorization = await make();

    const faults = await findFaults(guarded, async (entrance) =>
      judgeRefusal(await enter(entrance, authorization), INVALID),
    );

    expect(faults).toEqual([]);
  });
});

describe('a caller who is known', () => {
  it('is refused by every route whose scopes alone they lack, with a key', async () => {
    const keys = new Map<string, string>();
    for (const { operationId, scopes } of operations) {
      const others = SCOPE_NAMES.filter((name) => !scopes.includes(name));
      keys.set(operationId, await createTestKey(service.db, { name: `not-${operationId}`, scopes: others }));
    }

    const faults = await findFaults(guarded, async (entrance) => {
      const reply = await enter(entrance, `Bearer ${keys.get(entrance.operation.operationId)}`);
      return judgeRefusal(reply, lacking(entrance.operation.scopes));
    });

    expect(faults).toEqual([]);
  });

  it('is refused by every route whose scopes alone they lack, with a JWT', async () => {
    const faults = await findFaults(guarded, async (entrance) => {
      const { scopes } = entrance.operation;
      const others = SCOPE_NAMES.filter((name) => !scopes.includes(name));
      const reply = await enter(entrance, await makeToken({ scope: others.join(' ') }));
      return judgeRefusal(reply, lacking(scopes));
    });

    expect(faults).toEqual([]);
  });

  it.each([
    ['a key', async () => `Bearer ${await createTestKey(service.db, { name: 'nothing', scopes: [] })}`],
    ['a JWT', () => makeToken({ scope: undefined })],
    ['a JWT whose scopes are a list', () => makeToken({ scope: SCOPE_NAMES })],
    ['a JWT whose scopes are spelled otherwise', () => makeToken({ scope: everything.toUpperCase() })],
  ])('is refused by every route that is not for everyone without a scope: %s', async (_name, make) => {
    const authorization = await make();

    const faults = await findFaults(guarded, async (entrance) =>
      judgeRefusal(await enter(entrance, authorization), lacking(entrance.operation.scopes)),
    );

    expect(faults).toEqual([]);
  });

  it.each(['key', 'jwt'] as const)('needs but one of the scopes of a route: %s', async (kind) => {
    const callers = new Map<Scope, { owner: string; authorization: string }>();
    for (const [index, scope] of SCOPE_NAMES.entries()) {
      const name = `only-${index}`;
      const credentials =
        kind === 'key' ? await createTestKey(service.db, { name, scopes: [scope] }) : issuer.sign({ sub: name, scope });
      callers.set(scope, { owner: `${kind}:${name}`, authorization: `Bearer ${await credentials}` });
    }

    const statuses: string[] = [];
    for (const entrance of guarded) {
      for (const scope of entrance.operation.scopes) {
        const { owner = '', authorization } = callers.get(scope) ?? {};
        await storeSampleRows(service.db, owner);
        const { status } = await enter(entrance, authorization, scope);
        if (status >= 300) statuses.push(`${nameOf(entrance)} with ${scope}: ${status}`);
      }
    }

    expect(statuses).toEqual([]);
  });

  it.each([
    ['named users', 'notifications:broadcast', 'notifications:send'],
    ['everyone', 'notifications:send', 'notifications:broadcast'],
  ] as const)('needs the scope for whom they address: %s', async (_name, has, needs) => {
    const authorization = await makeToken({ scope: has });
    const senders = guarded.filter(({ operation }) => operation.fields?.includes('user_ids'));

    const faults = await findFaults(senders, async ({ operation, method }) => {
      const { path, body } = findSample(operation, needs);
      return judgeRefusal(await call(service, method, path, body, { authorization }), lacking([needs]));
    });

    expect(faults).toEqual([]);
    expect(senders.length).toBeGreaterThan(0);
  });
});

describe('a request that is wrong in itself', () => {
  const garbage: [name: string, body: string | undefined, contentType: string, query: string][] = [
    ['a query', undefined, 'application/json', '?limit=x&nothing=1'],
    ['broken JSON', '{', 'application/json', ''],
    ['unknown fields', '{"nothing": 1}', 'application/json', ''],
    ['another media type', '<a/>', 'application/xml', ''],
    ['a body of 3 MiB', ' '.repeat(3 * 1024 * 1024), 'application/json', ''],
  ];

  it.each(garbage)('is refused for its caller first: %s', async (_name, body, contentType, query) => {
    const scopeless = await makeToken({ scope: '' });
    const withBody = guarded.filter(({ method }) => body === undefined || !['GET', 'HEAD'].includes(method));

    const faults = await findFaults(withBody, async ({ operation, method }) => {
      const path = `${operation.template.replaceAll(/\{\w+\}/g, 'x')}${query}`;
      const send = (headers: object) => call(service, method, path, body, { 'content-type': contentType, ...headers });
      return [
        ...judgeRefusal(await send({}), MISSING),
        ...judgeRefusal(await send(bearer('nk_x')), INVALID),
        ...judgeRefusal(await send({ authorization: scopeless }), lacking(operation.scopes)),
      ];
    });

    expect(faults).toEqual([]);
    expect(withBody.length).toBeGreaterThan(5);
  });

  it('is refused for its caller before its body arrives', async () => {
    const scopeless = await makeToken({ scope: '' });
    const withBody = guarded.filter(({ method }) => !['GET', 'HEAD'].includes(method));

    const faults = await findFaults(withBody, async ({ operation, method }) => {
      const { path } = findSample(operation);
      const statuses = [
        await ask(method, path, {}, 100),
        await ask(method, path, bearer('nk_x'), 100),
        await ask(method, path, { authorization: scopeless }, 100),
      ];
      return statuses.join() === '401,401,403' ? [] : [statuses.join()];
    });

    expect(faults).toEqual([]);
  });
});

describe('what is for everyone', () => {
  it('is answered whatever credentials are brought', async () => {
    const open = operations.filter(({ scopes }) => scopes.length === 0).map(({ template }) => template);
    expect(open).toEqual(['/health/live', '/health/ready']);
    const paths = [...open, '/docs', '/docs/static/swagger-ui.css', '/redoc', '/redoc/redoc.js', '/openapi.json'];
    const values = await Promise.all(REFUSED.map(([, make]) => make()));

    const differing: string[] = [];
    for (const path of paths) {
      const plain = await call(service, 'GET', path);
      expect(plain.status).toBe(200);
      for (const authorization of [...values, `Bearer ${service.key}`]) {
        const reply = await call(service, 'GET', path, undefined, { authorization });
        if (reply.status !== 200 || reply.text !== plain.text) differing.push(`${path} for ${authorization}`);
      }
    }

    expect(differing).toEqual([]);
  });
});

describe('what is not served', () => {
  const CALLERS: [name: string, make: () => Promise<string>][] = [
    ['a malformed key', async () => 'Bearer nk_x'],
    ['an unknown key', async () => `Bearer ${makeKey().text}`],
    ['a JWT without a scope', () => makeToken({ scope: '' })],
    ['a key of every scope', async () => `Bearer ${service.key}`],
  ];

  it.each(CALLERS)('is refused alike without credentials and with them: %s', async (_name, make) => {
    const authorization = await make();
    const absent = ['GET', 'HEAD', 'POST', 'DELETE'].flatMap((method) =>
      ['/nothing', '/users/1/nothing', '/'].map((path) => [method, path, 404] as const),
    );
    const unsupported = [...new Set(operations.map(({ template }) => template))].flatMap((template) =>
      METHODS.filter((method) => ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'].includes(method))
        .filter(
          (method) => !operations.some((operation) => operation.template === template && operation.method === method),
        )
        .map((method) => [method, template.replaceAll(/\{\w+\}/g, '1'), 405] as const),
    );

    for (const [method, path, status] of [...absent, ...unsupported]) {
      const about = `${method} ${path}`;
      const [without, withThem] = [
        await call(service, method, path),
        await call(service, method, path, undefined, { authorization }),
      ];
      expect({ about, status: withThem.status }).toEqual({ about, status });
      expect({ about, ...comparable(withThem) }).toEqual({ about, ...comparable(without) });
      expect(withThem.headers.get('www-authenticate')).toBeNull();
    }
  });
});

/** A reply without what differs from one request to the next. */
function comparable({ status, headers, text }: Reply) {
  const id = headers.get('x-request-id') ?? '';
  const kept = [...headers].filter(([name]) => !['x-request-id', 'date'].includes(name));
  return { status, headers: kept, text: text.replaceAll(id, '') };
}
