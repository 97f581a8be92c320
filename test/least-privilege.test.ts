import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { applyMigrations } from '../prisma/migrate.ts';
import { createApiKey } from '../src/auth/api-keys.ts';
import { SCOPE_NAMES } from '../src/auth/principal.ts';
import { createDatabase } from '../src/database.ts';
import { removeWhenDue } from '../src/notifications/retention.ts';
import { createTestDatabase } from './support/database.ts';
import { createLog, eventually, UNSTOPPED } from './support/dispatch.ts';
import { drainQueue } from './support/queues.ts';
import { call, type Reply, startTestService, type TestService } from './support/service.ts';

/** Roles belong to the whole server, which other test files use at the same time. */
const RUN = randomUUID().replaceAll('-', '');
const MIGRATOR = `migrator_${RUN}`;
const SERVICE = `service_${RUN}`;

let script: string;
/** A superuser in the service's database. */
let admin: Client;
let migrator: Client;
let serviceRole: Client;
let migratorUrl: string;
let serviceUrl: string;
let service: TestService;
let key: string;

beforeAll(async () => {
  script = await readScript();
  const databaseUrl = await createTestDatabase();
  admin = await connect(databaseUrl);
  await admin.query(script);
  for (const role of [MIGRATOR, SERVICE]) await admin.query(`alter role ${role} password 'password'`);
  migratorUrl = withRole(databaseUrl, MIGRATOR);
  serviceUrl = withRole(databaseUrl, SERVICE);
  migrator = await connect(migratorUrl);
  serviceRole = await connect(serviceUrl);
  key = await makeKey();
  const limits = { DAILY_RECIPIENTS: '1000', PUBLISH_RATE_LIMIT: '1000' };
  service = await startTestService({ DATABASE_URL: serviceUrl, AUTH: 'on', ...limits });
});

afterAll(async () => {
  await service.stop();
  await Promise.all([admin, migrator, serviceRole].map((client) => client.end()));
});

/** The one SQL block of the section, with role names of this run. */
async function readScript(): Promise<string> {
  const text = await readFile('docs/operations.md', 'utf8');
  const section = /^## Database roles$(.*?)^## /ms.exec(text)?.[1] ?? '';
  const blocks = [...section.matchAll(/^```sql\n(.*?)^```$/gms)].map(([, sql = '']) => sql);
  expect(blocks).toHaveLength(1);
  return blocks.join().replaceAll('notification_migrator', MIGRATOR).replaceAll('notification_service', SERVICE);
}

function withRole(databaseUrl: string, role: string): string {
  return Object.assign(new URL(databaseUrl), { username: role, password: 'password' }).href;
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}

/** As `npm run api-key` does, in the migrator's role. */
async function makeKey(): Promise<string> {
  const db = createDatabase({ url: migratorUrl, poolMax: 1 });
  const caller = { name: 'everything', scopes: SCOPE_NAMES, expiresInSeconds: null, dailyRecipients: null };
  const text = await createApiKey(db, caller);
  await db.$disconnect();
  return text ?? '';
}

/** Calls the API with the key. */
function request(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> {
  return call(service, method, path, body, { authorization: `Bearer ${key}`, ...headers });
}

/** What the service's role may do to each table, like `{ users: 'SELECT INSERT' }`. */
async function readPrivileges(): Promise<Record<string, string>> {
  const { rows } = await admin.query(
    `select relname, coalesce(string_agg(privilege, ' ' order by n) filter (where has_table_privilege($1, c.oid, privilege)), '') as granted
     from pg_class c cross join unnest($2::text[]) with ordinality as p(privilege, n)
     where relnamespace = 'public'::regnamespace and relkind = 'r' group by relname`,
    [SERVICE, ['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']],
  );
  return Object.fromEntries(rows.map(({ relname, granted }) => [relname, granted]));
}

const PRIVILEGES = {
  users: 'SELECT INSERT UPDATE DELETE',
  preferences: 'SELECT INSERT UPDATE DELETE',
  notifications: 'SELECT INSERT UPDATE DELETE',
  pages: 'SELECT INSERT UPDATE DELETE',
  usage: 'SELECT INSERT UPDATE',
  publish_rate: 'SELECT INSERT UPDATE',
  jobs: 'SELECT INSERT UPDATE',
  audit_log: 'SELECT INSERT',
  // Beside one column, below.
  api_keys: 'SELECT',
  _prisma_migrations: '',
};

describe('the script of the database roles', () => {
  it('grants the service what is said of each table, and nothing else', async () => {
    expect(await readPrivileges()).toEqual(PRIVILEGES);
  });

  it('may be repeated, and takes back what was granted beside it', async () => {
    await admin.query(`grant all on all tables in schema public to ${SERVICE}`);
    await admin.query(`grant update (scopes) on api_keys to ${SERVICE}`);

    await admin.query(script);

    expect(await readPrivileges()).toEqual(PRIVILEGES);
    await expect(serviceRole.query('update api_keys set scopes = scopes')).rejects.toMatchObject({ code: '42501' });
  });

  it('leaves a table that a migration adds closed to the service, also when repeated', async () => {
    await migrator.query('create table later (id int primary key)');
    await admin.query(script);

    await expect(serviceRole.query('select * from later')).rejects.toMatchObject({ code: '42501' });

    await migrator.query('drop table later');
  });

  it('makes no superuser', async () => {
    const { rows } = await admin.query(
      'select rolname from pg_roles where rolname = any($1) and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)',
      [[MIGRATOR, SERVICE]],
    );

    expect(rows).toEqual([]);
  });
});

describe('the service in its own role', () => {
  it('stores users and preferences', async () => {
    for (const id of [1, 2, 3]) {
      const stored = await request('PUT', `/users/${id}`, {
        email: `user${id}@example.com`,
        phone: `+1555000000${id}`,
      });
      expect(stored.status).toBe(201);
    }
    expect((await request('PUT', '/users/3', { email: null })).status).toBe(200);
    expect((await request('POST', '/preferences', { user_id: 1, email_enabled: true })).status).toBe(201);
    expect((await request('PUT', '/preferences/2', { email_enabled: true })).status).toBe(201);
    expect((await request('PATCH', '/preferences/2', { sms_enabled: true })).status).toBe(200);
    expect((await request('PUT', '/preferences/3', {})).status).toBe(201);
    expect((await request('DELETE', '/preferences/3')).status).toBe(204);
    expect((await request('DELETE', '/users/3')).status).toBe(204);

    expect((await request('GET', '/users/2')).status).toBe(200);
    expect((await request('GET', '/users')).body).toHaveLength(2);
    expect((await request('GET', '/preferences')).body).toHaveLength(2);
  });

  it('dispatches to named users and to everyone', async () => {
    const wait = { prefer: 'wait=20' };
    const named = await request('POST', '/notifications', { payload: 'named', user_ids: [1, 2, 3] }, wait);
    const everyone = await request('POST', '/notifications', { payload: 'everyone' }, wait);

    expect([named.status, everyone.status]).toEqual([200, 200]);
    expect(named.body).toMatchObject({
      status: 'completed',
      counts: { published: 2, suppressed: { unknown_user: 1 } },
    });
    expect(everyone.body).toMatchObject({ status: 'completed', counts: { targeted: 2, published: 2 } });
    expect(await drainQueue(service.queueUrls.email)).toHaveLength(4);
    expect(await drainQueue(service.queueUrls.sms)).toHaveLength(2);
    const { id } = named.body as { id: string };
    expect((await request('GET', `/notifications/${id}`)).status).toBe(200);
    expect((await request('GET', `/notifications/${id}/messages`)).body).toHaveLength(2);
    expect((await request('GET', '/notifications?status=completed')).body).toHaveLength(2);
  });

  it('previews, and counts what its caller has used', async () => {
    const preview = await request('POST', '/notifications/preview', { payload: 'everyone' });

    expect(preview).toMatchObject({ status: 200, body: { targeted: 2, published: 2 } });
    const { rows } = await admin.query('select kind from usage where used > 0 order by kind');
    expect(rows.map(({ kind }) => kind)).toEqual(['broadcasts', 'recipients:email', 'recipients:sms']);
  });

  it('accepts once under an Idempotency-Key, and cancels', async () => {
    const body = { payload: 'later', user_ids: [1], send_at: '2999-01-01T00:00:00Z' };
    const headers = { 'idempotency-key': 'once' };
    const accepted = await request('POST', '/notifications', body, headers);
    const repeated = await request('POST', '/notifications', body, headers);

    const { id } = accepted.body as { id: string };
    const canceled = await request('POST', `/notifications/${id}/cancel`);

    expect([accepted.status, repeated.status]).toEqual([202, 202]);
    expect(repeated.body).toMatchObject({ id });
    expect(canceled).toMatchObject({ status: 200, body: { status: 'canceled' } });
  });

  it('records what it changed, and that its key was used', async () => {
    const { status, body } = await request('GET', '/audit?object=preferences/2');

    expect(status).toBe(200);
    expect(body).toMatchObject([
      { principal: 'key:everything', action: 'preference.patch' },
      { principal: 'key:everything', action: 'preference.put' },
    ]);
    await eventually(async () => {
      const { rows } = await admin.query('select last_used_on is not null as used from api_keys');
      expect(rows).toEqual([{ used: true }]);
    });
  });

  it('shares its publishing rate', async () => {
    expect((await admin.query('select topic from publish_rate')).rows).toEqual([
      { topic: service.config.SNS_TOPIC_ARN },
    ]);
  });

  it('removes old notifications, also when another process was doing so', async () => {
    const { body } = await request('POST', '/notifications', { payload: 'old', user_ids: [1] }, { prefer: 'wait=20' });
    const { id } = body as { id: string };
    await admin.query(`update notifications set completed_at = now() - interval '1 year' where id = $1`, [id]);
    await admin.query(`
      insert into jobs (name, due_at, lease_until) values ('retention', now(), now())
      on conflict (name) do update set due_at = now(), lease_until = now()`);
    const db = createDatabase({ url: serviceUrl, poolMax: 1 });
    onTestFinished(() => db.$disconnect());

    await removeWhenDue({ db, log: createLog().log, retentionDays: 90 }, UNSTOPPED);

    await eventually(async () => expect((await request('GET', `/notifications/${id}`)).status).toBe(404));
  });

  it('is ready, and has run into no lack of rights', async () => {
    expect((await call(service, 'GET', '/health/ready')).status).toBe(200);
    expect(service.logs.filter((line) => /permission denied|42501/.test(JSON.stringify(line)))).toEqual([]);
  });
});

describe('the role of the service', () => {
  it.each([
    ...['create table mine (id int)', 'create temporary table mine (id int)', 'create schema mine', 'create role mine'],
    ...['create view mine as select 1', 'create function mine() returns int language sql as $$ select 1 $$'],
    ...['alter table users add column secret text', 'create index on users (email)', 'drop table users'],
    ...['truncate users', 'truncate notifications cascade', 'truncate pages', 'truncate jobs'],
    ...['delete from usage', 'delete from publish_rate', 'delete from jobs'],
    "update audit_log set outcome = 'forged'",
    'delete from audit_log',
    'truncate audit_log',
    "insert into audit_log select * from audit_log on conflict (id) do update set outcome = 'forged'",
    'merge into audit_log a using audit_log b on a.id = b.id when matched then delete',
    'alter table audit_log disable trigger all',
    'drop trigger audit_log_append_only on audit_log',
    'create or replace function refuse_audit_change() returns trigger language plpgsql as $$ begin return null; end $$',
    "set session_replication_role = 'replica'",
    "insert into api_keys (id, name, secret_hash) values ('mine', 'mine', '')",
    "update api_keys set scopes = '{audit:read}'",
    'update api_keys set revoked_at = null, expires_at = null',
    "update api_keys set secret_hash = ''",
    'update api_keys set daily_recipients = null',
    'delete from api_keys',
    ...['select * from _prisma_migrations', 'select * from pg_authid', `set role ${MIGRATOR}`],
    "copy users to program 'cat'",
  ])('may not: %s', async (statement) => {
    await expect(serviceRole.query(statement)).rejects.toMatchObject({ code: '42501' });
  });
});

describe('the role of the migrator', () => {
  it('finds its migrations applied', async () => {
    expect(await applyMigrations(migratorUrl)).toEqual([]);
  });

  it('owns every table, type and function', async () => {
    const { rows } = await admin.query(
      `select relname as name from pg_class where relnamespace = 'public'::regnamespace and pg_get_userbyid(relowner) <> $1
       union all select typname from pg_type where typnamespace = 'public'::regnamespace and pg_get_userbyid(typowner) <> $1
       union all select proname from pg_proc where pronamespace = 'public'::regnamespace and pg_get_userbyid(proowner) <> $1`,
      [MIGRATOR],
    );

    expect(rows).toEqual([]);
  });

  it('may change every table', async () => {
    for (const table of Object.keys(PRIVILEGES)) {
      await migrator.query(`alter table ${table} add column later int`);
      await migrator.query(`alter table ${table} drop column later`);
    }

    const { rows } = await migrator.query("select 1 from information_schema.columns where column_name = 'later'");
    expect(rows).toEqual([]);
  });

  it.each(["update audit_log set outcome = 'forged'", 'delete from audit_log', 'truncate audit_log'])(
    'is refused like everyone, though it owns the table: %s',
    async (statement) => {
      const refusal = { code: '42501', message: expect.stringContaining('append-only') };

      await expect(migrator.query(statement)).rejects.toMatchObject(refusal);
    },
  );

  it('archives as the manual says', async () => {
    const archive = `
      begin;
      alter table audit_log disable trigger audit_log_append_only;
      delete from audit_log;
      alter table audit_log enable always trigger audit_log_append_only;
      commit`;

    await migrator.query(archive);

    expect((await migrator.query('select 1 from audit_log')).rows).toEqual([]);
    await expect(migrator.query('delete from audit_log')).rejects.toMatchObject({ code: '42501' });
    const { rows } = await migrator.query("select tgenabled from pg_trigger where tgname = 'audit_log_append_only'");
    expect(rows).toEqual([{ tgenabled: 'A' }]);
  });
});
