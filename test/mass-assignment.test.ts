import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Prisma } from '../src/generated/client.ts';
import { bearer, startGuardedService } from './support/auth.ts';
import { listOperations, type Operation } from './support/operations.ts';
import { readRows } from './support/rows.ts';
import { findSample, storeSampleRows } from './support/samples.ts';
import { call, type Reply, type TestService } from './support/service.ts';

/** Every column of every model. */
const COLUMNS = Object.entries(Prisma)
  .filter(([name]) => /^[A-Z][a-z]\w+ScalarFieldEnum$/.test(name))
  .flatMap(([, columns]) => Object.keys(columns));

/** What every object has without having been given it; `__proto__` is refused earlier. */
const INHERITED = Object.getOwnPropertyNames(Object.prototype).filter((name) => name !== '__proto__');

const NAMES = [...new Set([...COLUMNS, ...INHERITED, 'prototype', 'toJSON', 'then'])];

/** JSON that some column or other would take. */
const VALUES = ['1', 'true', '"completed"', 'null', '["email"]', '{"polluted": true}'];

let service: TestService & { key: string };
let operations: Operation[];

beforeAll(async () => {
  // A process that only accepts: what is stored here stays as it is.
  service = await startGuardedService({ ROLE: 'api' });
  operations = await listOperations(service);
  await storeSampleRows(service.db, 'key:root');
});

afterAll(() => service.stop());

const send = (method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Reply> =>
  call(service, method, path, body, { ...headers, ...bearer(service.key) });

/** Imports answer for each line of their body. */
const isImport = ({ mediaType }: Operation) => mediaType === 'application/x-ndjson';

/** The text of a valid body with more fields, which `JSON.stringify` would not write for every name. */
function withFields(body: object | string | undefined, names: string[], value: string): string {
  const own = (typeof body === 'string' ? body.trim() : JSON.stringify(body ?? {})).slice(1, -1);
  const more = names.map((name) => `"${name}": ${value}`).join(', ');
  return `{${own}${own === '' ? '' : ', '}${more}}`;
}

/** What is wrong with a reply that should refuse fields of the body or the query, each by its name, and nothing else. */
function judgeRefusal({ status, body }: Reply, part: string, names: string[]): string[] {
  const { code, errors = [] } = body as { code?: string; errors?: { in: string; pointer: string; detail: string }[] };
  if (status !== 400 || code !== 'validation_failed') return [`${status} ${code}`];
  const refused = errors.map((fault) => `${fault.in} ${fault.pointer} ${fault.detail}`);
  const unknown = names.map((name) => `${part} /${name} is not a known field`);
  return [
    ...unknown.filter((fault) => !refused.includes(fault)).map((fault) => `missing: ${fault}`),
    ...refused.filter((fault) => !unknown.includes(fault)).map((fault) => `besides: ${fault}`),
  ];
}

/** A body with a key that reaches for prototypes is refused before anybody looks at its fields. */
function isUnreadable({ status, body }: Reply): boolean {
  return status === 400 && (body as { code: string }).code === 'malformed_request';
}

/** Expects that no row has changed since, and that no object has got anything. */
async function expectUntouched(before: Awaited<ReturnType<typeof readRows>>): Promise<void> {
  expect(await readRows(service.db)).toEqual(before);
  expect(Object.keys({ ...Object.getPrototypeOf({}) })).toEqual([]);
  expect({}).not.toHaveProperty('polluted');
}

describe('the models', () => {
  it('are all offered', () => {
    expect(COLUMNS).toEqual(
      expect.arrayContaining(['email', 'sms_enabled', 'created_by', 'lease_until', 'secret_hash']),
    );
    expect(COLUMNS).toEqual(expect.arrayContaining(['allowed', 'outcome', 'scopes', 'idempotency_key', 'status']));
    expect(Object.keys(Prisma.ModelName).length).toBe(
      Object.keys(Prisma).filter((name) => /^[A-Z][a-z]\w+ScalarFieldEnum$/.test(name)).length,
    );
  });
});

describe('a body', () => {
  it.each(VALUES)('is refused with fields of rows, or of every object, that are not its own: %s', async (value) => {
    const before = await readRows(service.db);
    const withBody = operations.filter((operation) => operation.fields !== null && !isImport(operation));
    const faults: string[] = [];
    for (const operation of withBody) {
      const { path, body } = findSample(operation);
      const foreign = NAMES.filter((name) => !operation.fields?.includes(name));
      const reply = await send(operation.method, path, withFields(body, foreign, value));
      for (const fault of judgeRefusal(reply, 'body', foreign)) faults.push(`${operation.operationId}: ${fault}`);
    }

    expect(faults).toEqual([]);
    expect(withBody.length).toBeGreaterThanOrEqual(5);
    await expectUntouched(before);
  });

  it('is refused line by line where each line is an object, whatever field it has that is not its own', async () => {
    const before = await readRows(service.db);
    for (const operation of operations.filter(isImport)) {
      const { path, body, headers } = findSample(operation);
      const foreign = [...NAMES, '__proto__'].filter((name) => !operation.fields?.includes(name));
      const lines = foreign.map((name) => withFields(body, [name], '{"polluted": true}'));
      const reply = await send(operation.method, path, lines.join('\n'), headers);

      expect(reply.body).toEqual({
        ...{ lines: foreign.length, stored: 0, rejected: foreign.length },
        rejections: foreign.map((name, n) => ({ line: n + 1, reason: `/${name}: is not a known field` })),
      });
    }

    expect(operations.filter(isImport)).toHaveLength(2);
    await expectUntouched(before);
  });

  it.each([
    ['__proto__', '{"user_id": 2, "email_enabled": true}'],
    ['\\u005f_proto__', '{"polluted": true}'],
    ['constructor', '{"prototype": {"polluted": true}}'],
    ['payload', '{"__proto__": {"polluted": true}}'],
    ['user_ids', '[{"__proto__": {"polluted": true}}]'],
    ['channels', '[{"constructor": {"prototype": {"polluted": true}}}]'],
  ])('is refused that reaches for a prototype, wherever: %s: %s', async (name, value) => {
    const before = await readRows(service.db);
    const withBody = operations.filter((operation) => operation.method !== 'GET' && !isImport(operation));

    for (const operation of withBody) {
      const { path } = findSample(operation);
      const reply = await send(operation.method, path, `{"${name}": ${value}}`);
      expect({ path, unreadable: isUnreadable(reply), text: reply.text }).toMatchObject({ path, unreadable: true });
    }

    await expectUntouched(before);
  });

  it('changes nothing where none is asked for', async () => {
    const bodiless = operations.filter(({ fields, method }) => fields === null && method !== 'GET');
    const all = `{${COLUMNS.map((name) => `"${name}": 1`).join(', ')}}`;

    for (const operation of bodiless) {
      const { path } = findSample(operation);
      const [without, withAll] = [
        await rowsAfter(operation.method, path),
        await rowsAfter(operation.method, path, all),
      ];
      expect({ path, ...withAll }).toEqual({ path, ...without });
    }

    expect(bodiless.length).toBeGreaterThanOrEqual(3);
    await storeSampleRows(service.db, 'key:root');
  });
});

/** What a call answers and leaves behind, but for new ids, moments, and the audit log. */
async function rowsAfter(method: string, path: string, body?: string, headers: Record<string, string> = {}) {
  await storeSampleRows(service.db, 'key:root');
  const { status } = await send(method, path, body, headers);
  const { users, preferences, notifications, pages, usage } = await readRows(service.db);
  const rows = JSON.stringify({ users, preferences, notifications, pages, usage });
  return { status, rows: rows.replaceAll(/"(id|\w+_at|waiting_since)":"[^"]+"/g, '') };
}

/** How parsers of nested queries are led to a prototype. */
const NESTED = [
  '__proto__[polluted]',
  '__proto__.polluted',
  'constructor[prototype][polluted]',
  'status[not]',
  'limit[]',
];

describe('a query', () => {
  it('is refused with fields of rows, or of every object, that are not its own', async () => {
    const before = await readRows(service.db);
    const lists = operations.filter(({ query }) => query.length > 0);
    const faults: string[] = [];
    for (const operation of lists) {
      const foreign = [...NAMES, '__proto__', ...NESTED].filter((name) => !operation.query.includes(name));
      const query = foreign.map((name) => `${encodeURIComponent(name)}=1`).join('&');
      const reply = await send(operation.method, `${findSample(operation).path}?${query}`);
      for (const fault of judgeRefusal(reply, 'query', foreign)) faults.push(`${operation.operationId}: ${fault}`);
    }

    expect(faults).toEqual([]);
    expect(lists.length).toBeGreaterThanOrEqual(4);
    await expectUntouched(before);
  });

  it('changes nothing where none is asked for', async () => {
    const others = operations.filter(({ query, scopes }) => query.length === 0 && scopes.length > 0);
    const all = NAMES.map((name) => `${name}=1`).join('&');

    for (const operation of others) {
      const { path, body, headers } = findSample(operation);
      const text = typeof body === 'object' ? JSON.stringify(body) : body;
      const without = await rowsAfter(operation.method, path, text, headers);
      const withAll = await rowsAfter(operation.method, `${path}?${all}`, text, headers);
      expect({ path, ...withAll }).toEqual({ path, ...without });
    }

    await storeSampleRows(service.db, 'key:root');
  });
});
