import { Client } from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Contract, countStatuses, openContract, walkList } from './support/contract.ts';
import { type Reply, startTestService, type TestService } from './support/service.ts';

type Entry = Record<'id' | 'at' | 'principal' | 'action' | 'object' | 'outcome', string> & {
  request_id: string | null;
};

let service: TestService;
let api: Contract;
/** The owner of the tables, and a superuser. */
let owner: Client;

beforeAll(async () => {
  service = await startTestService();
  api = await openContract(service);
  owner = new Client({ connectionString: service.config.DATABASE_URL });
  await owner.connect();
});

afterAll(async () => {
  await owner.end();
  await service.stop();
});

const ada = { email: 'ada@example.com', phone: '+15550000042' };

/** What is recorded of an object, newest first. */
async function readAudit(object: string): Promise<Entry[]> {
  return (await api.call('GET', `/audit?object=${object}`)).body as Entry[];
}

describe('a change', () => {
  it.each([
    ['POST', '/preferences', { user_id: 1 }, 'preference.create', 'preferences/1', 'created'],
    ['PUT', '/preferences/1', { sms_enabled: true }, 'preference.put', 'preferences/1', 'replaced'],
    ['PUT', '/preferences/2', {}, 'preference.put', 'preferences/2', 'created'],
    ['PATCH', '/preferences/2', { sms_enabled: true }, 'preference.patch', 'preferences/2', 'changed'],
    ['PATCH', '/preferences/2', {}, 'preference.patch', 'preferences/2', 'changed'],
    ['DELETE', '/preferences/2', undefined, 'preference.delete', 'preferences/2', 'deleted'],
    ['PUT', '/users/1', ada, 'user.put', 'users/1', 'created'],
    ['PUT', '/users/1', { email: null }, 'user.put', 'users/1', 'replaced'],
    ['DELETE', '/users/1', undefined, 'user.erase', 'users/1', 'erased'],
  ])('by %s %s %j is recorded once, as %s of %s: %s', async (method, path, body, action, object, outcome) => {
    const before = await readAudit(object);

    const reply = await api.call(method, path, body);

    const [entry, ...older] = await readAudit(object);
    const request_id = reply.headers.get('x-request-id');
    expect(entry).toMatchObject({ principal: 'anonymous', action, object, outcome, request_id });
    expect(Math.abs(Date.now() - Date.parse(entry?.at ?? ''))).toBeLessThan(60_000);
    expect(older).toEqual(before);
  });

  it('is recorded under the request id that the caller chose', async () => {
    await api.call('PUT', '/users/3', ada, { 'x-request-id': 'import-2026.1' });

    expect(await readAudit('users/3')).toMatchObject([{ request_id: 'import-2026.1' }]);
  });

  it('is recorded without what it stored', async () => {
    await api.call('PUT', '/users/4', ada);

    const entries = JSON.stringify(await readAudit('users/4'));

    expect(entries).not.toContain(ada.email);
    expect(entries).not.toContain(ada.phone);
  });
});

describe('a refusal', () => {
  it.each([
    ['PATCH', '/preferences/10', { sms_enabled: true }, 404],
    ['DELETE', '/preferences/10', undefined, 404],
    ['PUT', '/preferences/10', { sms_enabled: 'yes' }, 400],
    ['DELETE', '/users/10', undefined, 404],
    ['PUT', '/users/10', { email: 'ada' }, 400],
  ])('of %s %s %j leaves no entry', async (method, path, body, status) => {
    expect((await api.call(method, path, body)).status).toBe(status);

    expect(await readAudit(path.slice(1))).toEqual([]);
  });

  it('of preferences that exist leaves no second entry', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => api.call('POST', '/preferences', { user_id: 11 })),
    );

    expect(countStatuses(replies)).toEqual({ 201: 1, 409: 19 });
    expect(await readAudit('preferences/11')).toMatchObject([{ action: 'preference.create' }]);
  });
});

describe('a change and its entry', () => {
  /** Has the database refuse every new row of a table that fails the check, while `work` runs. */
  async function withConstraint(table: string, check: string, work: () => Promise<void>): Promise<void> {
    await owner.query(`alter table ${table} add constraint refuse_some check (${check}) not valid`);
    try {
      await work();
    } finally {
      await owner.query(`alter table ${table} drop constraint refuse_some`);
    }
  }

  it.each([
    ['POST', '/preferences', { user_id: 20, sms_enabled: true }],
    ['PUT', '/preferences/21', { sms_enabled: true }],
    ['PATCH', '/preferences/21', { sms_enabled: true }],
    ['DELETE', '/preferences/21', undefined],
    ['PUT', '/users/21', { email: 'new@example.com' }],
    ['DELETE', '/users/21', undefined],
  ])('are undone together when %s %s %j cannot be recorded', async (method, path, body) => {
    await api.call('PUT', '/users/21', ada);
    await api.call('PUT', '/preferences/21', {});

    await withConstraint('audit_log', 'false', async () => {
      expect((await api.call(method, path, body)).body).toMatchObject({ code: 'internal_error' });
    });

    expect((await api.call('GET', '/users/21')).body).toEqual({ user_id: 21, ...ada });
    expect((await api.call('GET', '/preferences/21')).body).toMatchObject({ sms_enabled: false });
    expect((await api.call('GET', '/preferences/20')).status).toBe(404);
  });

  it.each([
    ['users', '/users/22', ada],
    ['preferences', '/preferences/22', {}],
  ])('are undone together when %s refuses the change', async (table, path, body) => {
    await withConstraint(table, 'false', async () => {
      expect((await api.call('PUT', path, body)).body).toMatchObject({ code: 'internal_error' });
    });

    expect(await readAudit(path.slice(1))).toEqual([]);
  });

  it('are one and one when many change the same things at once', async () => {
    const calls = Array.from({ length: 8 }, () => MIXED)
      .flat()
      .slice(0, 50);
    const replies = await Promise.all(
      calls.map(([method, path, body], n) => api.call(method, path, body, { 'x-request-id': `mixed-${n}` })),
    );

    const { rows } = await owner.query(
      "select request_id, action, outcome from audit_log where request_id like 'mixed-%'",
    );
    const made = replies.flatMap((reply, n) => (reply.status < 300 ? [describeChange(reply, n, calls[n])] : []));
    expect(made.length).toBeGreaterThan(10);
    expect(made.length).toBeLessThan(50);
    expect(rows.map((row) => Object.values(row).join(' ')).toSorted()).toEqual(made.toSorted());
  });
});

const MIXED: [method: string, path: string, body?: unknown][] = [
  ['POST', '/preferences', { user_id: 30 }],
  ['PUT', '/preferences/30', { sms_enabled: true }],
  ['DELETE', '/preferences/30'],
  ['PATCH', '/preferences/30', { email_enabled: true }],
  ['PUT', '/users/30', ada],
  ['DELETE', '/users/30'],
  ['POST', '/preferences', { user_id: 30, sms_enabled: true }],
];

/** The entry, as a line, that a successful call should have left. */
function describeChange({ status }: Reply, n: number, [method, path]: [string, string, unknown?] = ['', '']): string {
  const put = status === 201 ? 'created' : 'replaced';
  const changes: Record<string, string> = {
    'POST /preferences': 'preference.create created',
    'PUT /preferences/30': `preference.put ${put}`,
    'DELETE /preferences/30': 'preference.delete deleted',
    'PATCH /preferences/30': 'preference.patch changed',
    'PUT /users/30': `user.put ${put}`,
    'DELETE /users/30': 'user.erase erased',
  };
  return `mixed-${n} ${changes[`${method} ${path}`]}`;
}

describe('GET /audit', () => {
  const ids = Array.from({ length: 250 }, () => uuidv7());

  beforeAll(async () => {
    const entry = { principal: 'key:billing', action: 'thing.make', object: 'things/1', outcome: 'made' };
    await service.db.auditEntry.createMany({ data: ids.map((id) => ({ id, ...entry })) });
    await api.call('PUT', '/users/40', ada);
  });

  it.each([
    ['/audit?object=things/1', 3],
    ['/audit?object=things%2F1&limit=125', 3],
    ['/audit/?limit=33&object=things/1', 8],
    ['/audit?object=things/1&limit=1000', 1],
  ])('is walked from the newest entry to the oldest from %s, without loss or doubles', async (path, expectedPages) => {
    const { rows, pages } = await walkList(api, path);

    expect((rows as Entry[]).map(({ id }) => id)).toEqual(ids.toReversed());
    expect(pages).toBe(expectedPages);
  });

  it('has everything when it is not asked for one object', async () => {
    const { rows } = await walkList(api, '/audit?limit=100');

    const { rows: stored } = await owner.query('select id from audit_log order by id desc');
    expect((rows as Entry[]).map(({ id }) => id)).toEqual(stored.map(({ id }) => id));
    expect(rows[0]).toMatchObject({ object: 'users/40' });
  });

  it('has no request id for what came by a command', async () => {
    expect((await readAudit('things/1'))[0]).toMatchObject({ principal: 'key:billing', request_id: null });
  });

  it.each([
    ...['limit=0', 'limit=1001', 'limit=x', 'cursor=7', 'cursor=', 'object=', 'object=users/1%00', 'object=%C3%BC'],
    ...[`object=${'a'.repeat(201)}`, 'object=a&object=b', 'principal=anonymous'],
  ])('refuses %s, naming it', async (query) => {
    const reply = await api.call('GET', `/audit?${query}`);

    const pointer = `/${query.split('=')[0]}`;
    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'query', pointer }] } });
  });

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('has no %s', async (method) => {
    const reply = await api.call(method, '/audit');

    expect(reply).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } });
    expect(reply.headers.get('allow')).toBe('GET, HEAD');
  });
});

describe('the table of the audit log', () => {
  it.each([
    "update audit_log set outcome = 'forged'",
    "update audit_log set outcome = 'forged' where false",
    'delete from audit_log',
    'with gone as (delete from audit_log returning id) select count(*) from gone',
    'truncate audit_log',
    'truncate audit_log, users cascade',
    "insert into audit_log select * from audit_log on conflict (id) do update set outcome = 'forged'",
    "merge into audit_log a using audit_log b on a.id = b.id when matched then update set outcome = 'forged'",
    'merge into audit_log a using audit_log b on a.id = b.id when matched then delete',
  ])('refuses its owner, a superuser: %s', async (statement) => {
    await api.call('PUT', '/users/50', ada);
    const before = (await owner.query('select * from audit_log order by id')).rows;

    const refused = owner.query(statement);

    await expect(refused).rejects.toMatchObject({ code: '42501', message: expect.stringContaining('append-only') });
    expect((await owner.query('select * from audit_log order by id')).rows).toEqual(before);
  });
});
