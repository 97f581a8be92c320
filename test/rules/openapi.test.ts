import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFile } from 'node:fs/promises';
import { Validator } from '@seriousme/openapi-schema-validator';
import type { FastifyInstance, RouteOptions } from 'fastify';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeApi } from '../../docs/openapi.ts';

type Parameter = { name: string; in: string; description?: string };
type Response = { description: string; headers?: Record<string, object>; content?: Record<string, object> };
type Operation = {
  operationId: string;
  summary: string;
  description: string;
  tags: string[];
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema: { $ref?: string } }> };
  responses: Record<string, Response>;
};
type Schema = { example?: unknown; properties?: Record<string, Schema> };
type Document = {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
};

/** A probe is answered without the database, so nothing of it can go wrong in a way that has a code. */
const PROBES = ['getLiveness', 'getReadiness'];

let document: Document;
let operations: [name: string, operation: Operation][];
const routes: RouteOptions[] = [];

beforeAll(async () => {
  const watchRoutes = (message: unknown) => {
    const { fastify } = message as { fastify: FastifyInstance };
    fastify.addHook('onRoute', (route) => void routes.push(route));
  };
  subscribe('fastify.initialization', watchRoutes);
  document = JSON.parse(JSON.stringify(await describeApi()));
  unsubscribe('fastify.initialization', watchRoutes);
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
  );
});

/** The names of the operations of which something is not as it should be. */
function findOperations(isWrong: (operation: Operation) => boolean): string[] {
  return operations.filter(([, operation]) => isWrong(operation)).map(([name]) => name);
}

describe('docs/openapi.json', () => {
  it('is the document that the service serves', async () => {
    const committed = JSON.parse(await readFile('docs/openapi.json', 'utf8'));

    expect(committed, 'docs/openapi.json is out of date: npm run docs:generate').toEqual(document);
  });

  it('is valid OpenAPI 3.1', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));

    expect(errors ?? []).toEqual([]);
    expect(valid).toBe(true);
    expect(document).toMatchObject({ openapi: expect.stringMatching(/^3\.1\./) });
  });

  it('has every route that is not hidden', () => {
    const served = routes
      .filter(({ schema }) => !schema?.hide)
      .flatMap(({ url, method }) => [method].flat().map((name) => `${name.toLowerCase()} ${url}`))
      .map((name) => name.replaceAll(/:(\w+)/g, '{$1}'))
      .filter((name) => !name.startsWith('head '));

    expect(served.length).toBeGreaterThan(0);
    expect(operations.map(([name]) => name).toSorted()).toEqual(served.toSorted());
  });

  it('names no machine', () => {
    const text = JSON.stringify(document).replaceAll(`${process.cwd()}/`, '/MACHINE/');

    expect(text).not.toMatch(/\/MACHINE\/|node_modules|localhost|127\.0\.0\.1|\/(?:home|root|Users)\//);
    expect(document).not.toHaveProperty('servers');
  });
});

describe('every operation', () => {
  it('has a summary, a description, one tag, and an id of its own', () => {
    const ids = operations.map(([, { operationId }]) => operationId);

    expect(
      findOperations((call) => !call.summary || !call.description || call.tags.length !== 1 || !call.operationId),
    ).toEqual([]);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('documents a success', () => {
    expect(findOperations(({ responses }) => !Object.keys(responses).some((status) => /^2\d\d$/.test(status)))).toEqual(
      [],
    );
  });

  it('documents what goes wrong, as problems', () => {
    const expected = ['400', '500', '503'];

    expect(
      findOperations(
        ({ operationId, responses }) =>
          !PROBES.includes(operationId) &&
          !expected.every((status) => responses[status]?.content?.['application/problem+json']),
      ),
    ).toEqual([]);
  });

  it('documents 404 for an id in its path, 413 for a body of a bounded size, and 415 for any', () => {
    const expected = ({ parameters = [], requestBody, responses }: Operation) => [
      // PUT creates what it does not find.
      ...(parameters.some(({ in: place }) => place === 'path') && !responses['201'] ? ['404'] : []),
      ...(requestBody ? ['415'] : []),
      ...('application/json' in (requestBody?.content ?? {}) ? ['413'] : []),
    ];

    expect(findOperations((operation) => expected(operation).some((status) => !operation.responses[status]))).toEqual(
      [],
    );
  });

  it('describes its parameters and its responses', () => {
    expect(findOperations(({ parameters = [] }) => parameters.some(({ description }) => !description))).toEqual([]);
    expect(
      findOperations(({ responses }) =>
        Object.values(responses).some(({ description }) => !description || description === 'Default Response'),
      ),
    ).toEqual([]);
  });

  it('documents the headers of its responses', () => {
    const expected = (status: string, { parameters = [] }: Operation, { content = {} }: Response) => [
      'X-Request-Id',
      ...(status === '201' || status === '202' ? ['Location'] : []),
      ...(status === '200' && parameters.some(({ name }) => name === 'cursor') ? ['Link'] : []),
      ...(status === '503' && 'application/problem+json' in content ? ['Retry-After'] : []),
    ];

    expect(
      findOperations((operation) =>
        Object.entries(operation.responses).some(
          ([status, response]) => !expected(status, operation, response).every((name) => response.headers?.[name]),
        ),
      ),
    ).toEqual([]);
    expect(document.paths['/notifications']?.['post']?.responses['202']?.headers).toMatchObject({
      'Idempotency-Replayed': {},
      'Preference-Applied': {},
    });
  });
});

describe('every schema', () => {
  it('is used, under its plain name', () => {
    const text = JSON.stringify(document);
    const names = Object.keys(document.components.schemas);

    expect(names.filter((name) => !text.includes(`"#/components/schemas/${name}"`))).toEqual([]);
    expect(names.filter((name) => name.endsWith('Input'))).toEqual([]);
  });

  it('has an example when it is the body of a request', () => {
    const named = operations.flatMap(([, { requestBody }]) =>
      Object.values(requestBody?.content ?? {}).map(({ schema }) => schema.$ref?.replace('#/components/schemas/', '')),
    );

    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name = '') => document.components.schemas[name]?.example === undefined)).toEqual([]);
  });

  it('resolves wherever it is referred to', () => {
    const text = JSON.stringify(document);
    const references = [...text.matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, pointer = '']) => pointer);

    const dangling = references.filter((pointer) => {
      const found = pointer
        .split('/')
        .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document);
      return found === undefined;
    });
    expect(dangling).toEqual([]);
  });
});
