import { execFile } from 'node:child_process';
import { hash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { createApiKey, type Rotation, revokeApiKeys, rotateApiKey } from '../src/auth/api-keys.ts';
import { createKeyCache } from '../src/auth/key-cache.ts';
import { SCOPE_NAMES } from '../src/auth/principal.ts';
import { createDatabase } from '../src/database.ts';
import { ServiceError } from '../src/errors.ts';
import { bearer, createTestKey, startGuardedService } from './support/auth.ts';
import { eventually } from './support/dispatch.ts';
import { call, type Reply, startTestService, type TestService } from './support/service.ts';

const DAY_MS = 24 * 3_600_000;
const UNKNOWN_KEY = `nk_${'a'.repeat(16)}_${'B'.repeat(43)}`;

let service: TestService & { key: string };

beforeAll(async () => {
  service = await startGuardedService();
});

afterAll(() => service.stop());

function getUsers(key: string, where: { url: string } = service): Promise<Reply> {
  return call(where, 'GET', '/users', undefined, bearer(key));
}

const idOf = (key: string) => key.split('_')[1] ?? '';
const secretOf = (key: string) => key.slice('nk_'.length + 16 + 1);

function readRow(key: string) {
  return service.db.apiKey.findUniqueOrThrow({ where: { id: idOf(key) } });
}

/** Why the last refusal was, by the log. */
function lastReason(): unknown {
  return service.logs.findLast(({ msg }) => msg === 'credentials refused')?.['reason'];
}

/** What the audit log has about a name, oldest first. */
async function readAudit(name: string): Promise<unknown[]> {
  const where = { object: `api_keys/${name}` };
  const rows = await service.db.auditEntry.findMany({ where, orderBy: { id: 'asc' } });
  return rows.map(({ principal, action, outcome, request_id }) => [principal, action, outcome, request_id]);
}

describe('an API key', () => {
  it('is an id and 256 random bits, and lets its caller in', async () => {
    const key = await createTestKey(service.db, { name: 'format' });

    expect(key).toMatch(/^nk_[a-z0-9]{16}_[A-Za-z0-9_-]{43}$/);
    expect(await getUsers(key)).toMatchObject({ status: 200 });
  });

  it('is stored as a hash, and its secret nowhere', async () => {
    const key = await createTestKey(service.db, { name: 'hashed' });
    const rows = await service.db.$queryRaw<{ line: string }[]>`
      select k::text as line from api_keys k union all select a::text from audit_log a`;
    const secret = secretOf(key);

    expect(Buffer.from((await readRow(key)).secret_hash).toString('hex')).toBe(hash('sha256', secret));
    const hex = Buffer.from(secret).toString('hex');
    for (const { line } of rows) expect(line.includes(secret) || line.includes(hex)).toBe(false);
  });

  it('goes by any spelling of its scheme', async () => {
    for (const scheme of ['bearer', 'BEARER', 'Bearer ']) {
      const reply = await call(service, 'GET', '/users', undefined, { authorization: `${scheme} ${service.key}` });
      expect(reply.status).toBe(200);
    }
  });

  it('allows what its scopes say, and ignores those that nobody knows', async () => {
    const key = await createTestKey(service.db, { name: 'narrow', scopes: ['preferences:read'] });
    await service.db.apiKey.updateMany({
      where: { name: 'narrow' },
      data: { scopes: ['preferences:read', 'users:*', '', '__proto__', 'toString'] },
    });
    const allowed = await call(service, 'GET', '/preferences', undefined, bearer(key));
    const refused = await getUsers(key);

    expect(allowed.status).toBe(200);
    expect(refused).toMatchObject({ status: 403, body: { code: 'scope_missing', scopes: ['users:read'] } });
  });

  it('is needed: without credentials the answer is 401 and a challenge', async () => {
    const reply = await call(service, 'GET', '/users');

    expect(reply).toMatchObject({ status: 401, body: { code: 'credentials_missing' } });
    expect(reply.headers.get('www-authenticate')).toBe('Bearer realm="notifications"');
  });

  const withKey = (change: (key: string) => string) => () => change(service.key);
  it.each<[string, () => string]>([
    ['an unknown id', () => `Bearer ${UNKNOWN_KEY}`],
    ['the secret of another', withKey((key) => `Bearer nk_${idOf(key)}_${'A'.repeat(43)}`)],
    ['a secret that is cut', withKey((key) => `Bearer ${key.slice(0, -1)}`)],
    ['a secret that is longer', withKey((key) => `Bearer ${key}A`)],
    ['another case of the id', withKey((key) => `Bearer ${key.replace(idOf(key), idOf(key).toUpperCase())}`)],
    ['no secret', withKey((key) => `Bearer nk_${idOf(key)}`)],
    ['SQL in the id', withKey((key) => `Bearer nk_'or'1'='1_${secretOf(key)}`)],
    ['another scheme', withKey((key) => `Basic ${key}`)],
    ['no scheme', withKey((key) => key)],
    ['no token', () => 'Bearer'],
    ['two tokens', withKey((key) => `Bearer ${key} ${key}`)],
    ['a list of two', withKey((key) => `Bearer ${key}, Bearer ${key}`)],
    ['quotes', withKey((key) => `Bearer "${key}"`)],
    ['an empty header', () => ''],
    ['a JWT, where no issuer is configured', () => 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.'],
  ])('does not go with %s', async (_fault, compose) => {
    const authorization = compose();
    const reply = await call(service, 'GET', '/users', undefined, { authorization });

    expect(reply).toMatchObject({ status: 401, body: { code: 'credentials_invalid' } });
    expect(reply.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect(lastReason()).toEqual(expect.any(String));
    const told = authorization.length > 40 ? authorization.slice(-30) : 'nk_';
    expect(JSON.stringify(service.logs)).not.toContain(told);
  });

  it('answers an unknown id, a wrong secret, an expired and a revoked key alike, and logs which it was', async () => {
    const expired = await createTestKey(service.db, { name: 'over' });
    const revoked = await createTestKey(service.db, { name: 'gone' });
    await service.db.apiKey.update({
      where: { id: idOf(expired) },
      data: { expires_at: new Date(Date.now() - 1_000) },
    });
    await revokeApiKeys(service.db, { name: 'gone' });
    const wrong = `nk_${idOf(service.key)}_${'A'.repeat(43)}`;
    const answers: unknown[] = [];
    const reasons: unknown[] = [];
    for (const key of [UNKNOWN_KEY, wrong, expired, revoked]) {
      const { status, headers, body } = await getUsers(key);
      answers.push([status, headers.get('www-authenticate'), { ...(body as object), instance: '' }]);
      reasons.push(lastReason());
    }

    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(reasons).toEqual(['unknown key', 'wrong secret', 'expired', 'revoked']);
  });

  it('expires on time, though it was in use a moment before', async () => {
    const key = await createTestKey(service.db, { name: 'brief', expiresInSeconds: 1 });
    const before = await getUsers(key);
    const start = Date.now();
    await eventually(async () => expect((await getUsers(key)).status).toBe(401));

    expect(before.status).toBe(200);
    expect(Date.now() - start).toBeLessThan(2_000);
  });

  it('notes the day of its use, with one write a day, and none for a wrong secret', async () => {
    const key = await createTestKey(service.db, { name: 'noted' });
    await getUsers(`nk_${idOf(key)}_${'A'.repeat(43)}`);
    const unused = await readRow(key);
    await Promise.all(Array.from({ length: 10 }, () => getUsers(key)));
    const first = await readVersion(key);
    const used = await readRow(key);
    await Promise.all(Array.from({ length: 10 }, () => getUsers(key)));
    const again = await readVersion(key);
    const yesterday = new Date(Date.now() - DAY_MS);
    await service.db.apiKey.update({ where: { id: idOf(key) }, data: { last_used_on: yesterday } });

    expect(unused.last_used_on).toBeNull();
    expect(used.last_used_on?.toISOString().slice(0, 10)).toBe(new Date().toISOString().slice(0, 10));
    expect(again).toBe(first);
    await eventually(async () => {
      await getUsers(key);
      expect((await readRow(key)).last_used_on).toEqual(used.last_used_on);
    });
  });

  /** Changes with every write to the row. */
  async function readVersion(key: string): Promise<string | undefined> {
    const rows = await service.db.$queryRaw<{ version: string }[]>`
      select xmin::text || ctid::text as version from api_keys where id = ${idOf(key)}`;
    return rows[0]?.version;
  }

  it('is refused within 5 s by every process once it is revoked, and stays so', async () => {
    const other = await startTestService({ AUTH: 'on', DATABASE_URL: service.config.DATABASE_URL });
    const key = await createTestKey(service.db, { name: 'shared' });
    const askBoth = async () => [(await getUsers(key)).status, (await getUsers(key, other)).status];
    const before = await askBoth();
    await revokeApiKeys(service.db, { id: idOf(key) });
    const start = Date.now();
    await eventually(async () => expect(await askBoth()).toEqual([401, 401]));
    const elapsedMs = Date.now() - start;
    const after = await askBoth();
    await other.stop();

    expect(before).toEqual([200, 200]);
    expect(elapsedMs).toBeLessThan(5_000);
    expect(after).toEqual([401, 401]);
  });

  it('is not needed with AUTH=off, where a wrong one does no harm', async () => {
    const open = await startTestService();
    const reply = await getUsers('nonsense', open);
    await open.stop();

    expect(reply.status).toBe(200);
  });
});

describe('an API key, while the database is away', () => {
  it('is answered 503, and lets its caller in again afterwards', async () => {
    const guarded = await startGuardedService();
    const database = new URL(guarded.config.DATABASE_URL).pathname.slice(1);
    const admin = new Client({ connectionString: inject('postgresUrl') });
    await admin.connect();
    await admin.query(`alter database ${database} with allow_connections false`);
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database]);
    const away = await getUsers(guarded.key, guarded);
    const unknown = await getUsers(UNKNOWN_KEY, guarded);
    const malformed = await getUsers('nk_', guarded);
    await admin.query(`alter database ${database} with allow_connections true`);
    await admin.end();

    expect(away).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    expect(unknown).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    expect(malformed).toMatchObject({ status: 401, body: { code: 'credentials_invalid' } });
    await eventually(async () => expect((await getUsers(guarded.key, guarded)).status).toBe(200));
    await guarded.stop();
  });
});

describe('a name', () => {
  const ANOTHER = { scopes: [...SCOPE_NAMES], expiresInSeconds: null, dailyRecipients: null };

  it('is one caller for ever: of many who ask for it at once one gets it, and nobody after a revocation', async () => {
    const db = createDatabase({ url: service.config.DATABASE_URL, poolMax: 8 });
    const ask = async () => {
      // A connection for each, so that nobody waits for one.
      await db.$queryRaw`select 1 from pg_sleep(0.2)`;
      return createApiKey(db, { ...ANOTHER, name: 'wanted' });
    };
    const keys = await Promise.all(Array.from({ length: 8 }, ask));
    await db.$disconnect();
    await revokeApiKeys(service.db, { name: 'wanted' });
    const later = await createApiKey(service.db, { ...ANOTHER, name: 'wanted' });

    expect(keys.filter((key) => key !== null)).toHaveLength(1);
    expect(later).toBeNull();
    expect(await readAudit('wanted')).toEqual([
      ['operator', 'api_key.create', 'created', null],
      ['operator', 'api_key.revoke', 'revoked', null],
    ]);
  });

  it('keeps its old key for the overlap when it is rotated, and both are the same caller', async () => {
    const scopes = ['notifications:send', 'notifications:read'] as const;
    const old = await createTestKey(service.db, { name: 'rotated', scopes: [...scopes], dailyRecipients: 7 });
    const next = (await rotateApiKey(service.db, { name: 'rotated', overlapSeconds: 600, expiresInSeconds: 60 })) ?? '';
    const body = { payload: 'Your statement is ready', user_ids: [1] };
    const sent = await call(service, 'POST', '/notifications', body, bearer(old));
    const seen = await call(service, 'GET', sent.headers.get('location') ?? '', undefined, bearer(next));
    const [before, after] = [await readRow(old), await readRow(next)];

    expect(sent.status).toBe(202);
    expect(seen.status).toBe(200);
    expect(after).toMatchObject({ name: 'rotated', scopes: [...scopes], daily_recipients: 7, revoked_at: null });
    expect(before.expires_at?.getTime()).toBe(after.created_at.getTime() + 600_000);
    expect(after.expires_at?.getTime()).toBe(after.created_at.getTime() + 60_000);
    expect((await readAudit('rotated')).at(-1)).toEqual(['operator', 'api_key.rotate', 'rotated', null]);
  });

  it('has only its newest key when it is rotated without an overlap', async () => {
    const old = await createTestKey(service.db, { name: 'swapped' });
    const next = (await rotateApiKey(service.db, { name: 'swapped', overlapSeconds: 0, expiresInSeconds: null })) ?? '';

    expect(await getUsers(old)).toMatchObject({ status: 401 });
    expect(await getUsers(next)).toMatchObject({ status: 200 });
  });

  it('prolongs nothing by a rotation: what ends earlier, has ended or is revoked stays as it is', async () => {
    const first = await createTestKey(service.db, { name: 'kept', expiresInSeconds: 60 });
    await rotateApiKey(service.db, { name: 'kept', overlapSeconds: 3_600, expiresInSeconds: null });
    await revokeApiKeys(service.db, { name: 'kept' });
    const before = await service.db.apiKey.findMany({ where: { name: 'kept' }, orderBy: { id: 'asc' } });
    const rotation = { name: 'kept', overlapSeconds: 10, expiresInSeconds: null, revive: true };
    const next = (await rotateApiKey(service.db, rotation)) ?? '';
    const where = { name: 'kept', id: { not: idOf(next) } };
    const after = await service.db.apiKey.findMany({ where, orderBy: { id: 'asc' } });

    expect(after).toEqual(before);
    const { created_at, expires_at } = await readRow(first);
    expect(expires_at?.getTime()).toBe(created_at.getTime() + 60_000);
    expect(await getUsers(next)).toMatchObject({ status: 200 });
  });

  it('gets other scopes and another allowance by a rotation that says so, and its old key keeps its own', async () => {
    const old = await createTestKey(service.db, { name: 'widened', scopes: ['users:read'], dailyRecipients: 7 });
    const rotate = async (change: Partial<Rotation>) => {
      const rotation = { name: 'widened', overlapSeconds: 60, expiresInSeconds: null, ...change };
      const { scopes, daily_recipients } = await readRow((await rotateApiKey(service.db, rotation)) ?? '');
      return [scopes, daily_recipients];
    };

    expect(await rotate({ scopes: ['preferences:read', 'users:write'] })).toEqual([
      ...[['preferences:read', 'users:write'], 7],
    ]);
    expect(await rotate({ dailyRecipients: 9 })).toEqual([['preferences:read', 'users:write'], 9]);
    expect(await rotate({ dailyRecipients: null })).toEqual([['preferences:read', 'users:write'], null]);
    expect(await rotate({})).toEqual([['preferences:read', 'users:write'], null]);
    expect(await readRow(old)).toMatchObject({ scopes: ['users:read'], daily_recipients: 7 });
  });

  it.each<[string, (name: string) => Promise<unknown>]>([
    ['revoked', (name) => revokeApiKeys(service.db, { name })],
    ['expired', (name) => service.db.apiKey.updateMany({ where: { name }, data: { expires_at: new Date(0) } })],
  ])('is not revived by a rotation once all its keys are %s, unless that is said', async (state, end) => {
    const name = `all-${state}`;
    await createTestKey(service.db, { name, scopes: ['users:read'] });
    await end(name);
    const rotation = { name, overlapSeconds: 0, expiresInSeconds: null };
    const refused = await rotateApiKey(service.db, rotation);
    const count = await service.db.apiKey.count({ where: { name } });
    const audit = await readAudit(name);
    const revived = (await rotateApiKey(service.db, { ...rotation, revive: true })) ?? '';

    expect([refused, count]).toEqual([null, 1]);
    expect(audit).not.toContainEqual(expect.arrayContaining(['api_key.rotate']));
    expect(await getUsers(revived)).toMatchObject({ status: 200 });
  });

  it('has keys as old as the order in which they were made, though one waited for another', async () => {
    await createTestKey(service.db, { name: 'queued' });
    const other = new Client({ connectionString: service.config.DATABASE_URL });
    await other.connect();
    onTestFinished(() => other.end());
    await other.query('begin');
    await other.query("select pg_advisory_xact_lock(hashtextextended('api_keys/queued', 0))");
    const rotating = rotateApiKey(service.db, { name: 'queued', overlapSeconds: 60, expiresInSeconds: null });
    await eventually(async () => {
      const { rowCount } = await other.query(
        `select from pg_locks join pg_database d on d.oid = database
         where locktype = 'advisory' and not granted and datname = current_database()`,
      );
      expect(rowCount).toBe(1);
    });
    const { rows } = await other.query<{ before: Date }>('select clock_timestamp() as before');
    await other.query('commit');
    const { created_at } = await readRow((await rotating) ?? '');

    expect(created_at.getTime()).toBeGreaterThanOrEqual(rows[0]?.before.getTime() ?? Number.POSITIVE_INFINITY);
  });

  it('is unknown to a rotation or a revocation before it was created', async () => {
    const absent = { name: 'absent', overlapSeconds: 0, expiresInSeconds: null };

    expect(await rotateApiKey(service.db, absent)).toBeNull();
    expect(await revokeApiKeys(service.db, { name: 'absent' })).toBeNull();
    expect(await readAudit('absent')).toEqual([]);
  });
});

describe('what a process remembers of keys', () => {
  type Key = { id: string; readAt: number };

  /** A cache over reads that are counted, each of which waits for `answer`. */
  function countReads(answer: (id: string) => Key | null | Promise<Key | null>) {
    const reads: string[] = [];
    const findKey = createKeyCache(async (id: string) => {
      reads.push(id);
      return answer(id);
    });
    return { reads, findKey };
  }
  const readNow = (id: string) => ({ id, readAt: performance.now() });

  it('is read once for all who ask at the same time, and for those who ask soon after', async () => {
    const { reads, findKey } = countReads(readNow);
    const keys = await Promise.all(Array.from({ length: 50 }, () => findKey('a')));
    await findKey('a');

    expect(new Set(keys).size).toBe(1);
    expect(reads).toEqual(['a']);
  });

  it('is nothing for an id that is unknown, nor for a read that failed', async () => {
    let left = 1;
    const { reads, findKey } = countReads((id) => {
      if (id === 'broken' && left-- > 0) throw new Error('The database is away.');
      return id === 'unknown' ? null : readNow(id);
    });

    expect([await findKey('unknown'), await findKey('unknown')]).toEqual([null, null]);
    await expect(findKey('broken')).rejects.toThrow('The database is away.');
    expect(await findKey('broken')).toMatchObject({ id: 'broken' });
    expect(reads).toEqual(['unknown', 'unknown', 'broken', 'broken']);
  });

  it('is read again after a read that threw before it returned anything', async () => {
    let left = 1;
    const findKey = createKeyCache((id: string) => {
      if (left-- > 0) throw new Error('There is no client.');
      return Promise.resolve(readNow(id));
    });

    await expect(findKey('a')).rejects.toThrow('There is no client.');
    expect(await findKey('a')).toMatchObject({ id: 'a' });
  });

  it('is read again after 3 s, counted from before the question', async () => {
    let ageMs = 2_000;
    const { reads, findKey } = countReads((id) => ({ id, readAt: performance.now() - ageMs }));
    await findKey('young');
    await findKey('young');
    ageMs = 3_001;

    await expect(findKey('old')).rejects.toEqual(new ServiceError('unavailable'));
    await expect(findKey('old')).rejects.toEqual(new ServiceError('unavailable'));
    expect(reads).toEqual(['young', 'old', 'old']);
  });

  it('is bounded to 10,000 keys, of which the one read longest ago makes room', async () => {
    const { reads, findKey } = countReads(readNow);
    for (let id = 0; id <= 10_000; id++) await findKey(`${id}`);
    reads.length = 0;
    await findKey('10000');
    await findKey('1');
    await findKey('0');

    expect(reads).toEqual(['0']);
  });
});

describe('npm run api-key', () => {
  type Result = { code: number; stdout: string; stderr: string };

  function run(args: string[], env: Record<string, string> = { DATABASE_URL: service.config.DATABASE_URL }) {
    const script = join(import.meta.dirname, '../dist/src/api-key.js');
    const options = { env: { PATH: process.env['PATH'], ...env }, cwd: tmpdir() };
    return new Promise<Result>((resolve) => {
      const child = execFile(process.execPath, [script, ...args], options, (_error, stdout, stderr) =>
        resolve({ code: child.exitCode ?? -1, stdout, stderr }),
      );
    });
  }

  /** The columns of the lines about a name. */
  async function list(name: string): Promise<string[][]> {
    const { stdout } = await run(['list']);
    const lines = stdout.split('\n').filter((line) => line.startsWith(`${name} `));
    return lines.map((line) => line.split(/ {2,}/));
  }

  it('creates a key, prints it once and alone on stdout, and says so', async () => {
    const scope = ['--scope', 'preferences:read', '--scope', 'users:read', '--scope', 'users:read'];
    const limits = ['--expires-in', '90d', '--daily-recipients', '100000'];
    const { code, stdout, stderr } = await run(['create', '--name', 'billing', ...scope, ...limits]);
    const key = stdout.trimEnd();

    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^nk_[a-z0-9]{16}_[\w-]{43}\n$/) });
    expect(stderr).toMatch(/^This key is shown once.* `npm run -s api-key -- …`\.\n$/);
    expect(await getUsers(key)).toMatchObject({ status: 200 });
    const row = await readRow(key);
    expect(row).toMatchObject({ scopes: ['preferences:read', 'users:read'], daily_recipients: 100_000 });
    expect(row.expires_at?.getTime()).toBe(row.created_at.getTime() + 90 * DAY_MS);
  });

  it('refuses a name that is taken', async () => {
    const { code, stdout, stderr } = await run(['create', '--name', 'root', '--scope', 'users:read']);

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe('api-key: the name root is taken; rotate gives it another key\n');
  });

  it('lists keys with their state, and neither secrets nor hashes', async () => {
    const key = await createTestKey(service.db, { name: 'listed', scopes: ['users:read'], dailyRecipients: 5 });
    await getUsers(key);
    await rotateApiKey(service.db, { name: 'listed', overlapSeconds: 0, expiresInSeconds: null });
    await rotateApiKey(service.db, { name: 'listed', overlapSeconds: 60, expiresInSeconds: null });
    await revokeApiKeys(service.db, { id: idOf(key) });
    const { code, stdout, stderr } = await run(['list']);
    const rows = await service.db.apiKey.findMany();

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')[0]).toMatch(/^NAME +ID +SCOPES +DAILY RECIPIENTS +CREATED +EXPIRES +LAST USED +STATE$/);
    const lines = await list('listed');
    const states = lines.map((columns) => columns.at(-1));
    expect(states.filter((state) => state === 'valid')).toHaveLength(2);
    expect(states).toHaveLength(3);
    expect(lines.find((columns) => columns[1] === idOf(key))).toEqual([
      ...['listed', idOf(key), 'users:read', '5', expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\dZ$/)],
      ...[expect.stringMatching(/Z$/), new Date().toISOString().slice(0, 10), 'revoked'],
    ]);
    expect(stdout).not.toContain(secretOf(key));
    for (const { secret_hash } of rows) {
      for (const encoding of ['hex', 'base64'] as const) {
        expect(stdout).not.toContain(Buffer.from(secret_hash).toString(encoding));
      }
    }
  });

  it('rotates with an overlap of a day, unless it is said', async () => {
    const old = await createTestKey(service.db, { name: 'turned' });
    const { code, stdout } = await run(['rotate', '--name', 'turned']);
    const next = await readRow(stdout.trimEnd());
    const inADay = (await readRow(old)).expires_at;
    const again = await run(['rotate', '--name', 'turned', '--overlap', '0s', '--expires-in', '2h']);

    expect(code).toBe(0);
    expect(inADay?.getTime()).toBe(next.created_at.getTime() + DAY_MS);
    expect(await getUsers(old)).toMatchObject({ status: 401 });
    expect(await getUsers(again.stdout.trimEnd())).toMatchObject({ status: 200 });
    expect(await run(['rotate', '--name', 'nobody'])).toEqual({
      ...{ code: 1, stdout: '' },
      stderr:
        'api-key: no valid key is named nobody; --revive gives one to a caller whose keys are all revoked or expired\n',
    });
  });

  it('rotates to other scopes and another allowance where they are said, and revives where that is said', async () => {
    await createTestKey(service.db, { name: 'changed', scopes: ['users:read'], dailyRecipients: 5 });
    const scope = ['--scope', 'users:read', '--scope', 'users:write', '--scope', 'users:read'];
    const changed = await run(['rotate', '--name', 'changed', ...scope, '--daily-recipients', '8']);
    await revokeApiKeys(service.db, { name: 'changed' });
    const refused = await run(['rotate', '--name', 'changed']);
    const revived = await run(['rotate', '--name', 'changed', '--revive', '--daily-recipients', 'none']);

    expect(await readRow(changed.stdout.trimEnd())).toMatchObject({
      ...{ scopes: ['users:read', 'users:write'], daily_recipients: 8 },
    });
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('--revive') });
    expect(await readRow(revived.stdout.trimEnd())).toMatchObject({
      ...{ scopes: ['users:read', 'users:write'], daily_recipients: null },
    });
    expect(await run(['rotate', '--name', 'nobody', '--revive'])).toEqual({
      ...{ code: 1, stdout: '', stderr: 'api-key: no key is named nobody\n' },
    });
  });

  it('revokes one key or all of a name, says which, and does no harm when repeated', async () => {
    const first = await createTestKey(service.db, { name: 'ended' });
    const second =
      (await rotateApiKey(service.db, { name: 'ended', overlapSeconds: 60, expiresInSeconds: null })) ?? '';
    const one = await run(['revoke', '--id', idOf(first)]);
    const rest = await run(['revoke', '--name', 'ended']);
    const again = await run(['revoke', '--name', 'ended']);

    expect(one).toEqual({ code: 0, stdout: `revoked ${idOf(first)} of ended\n`, stderr: '' });
    expect(rest).toEqual({ code: 0, stdout: `revoked ${idOf(second)} of ended\n`, stderr: '' });
    expect(again).toEqual({ code: 0, stdout: 'nothing left to revoke of ended\n', stderr: '' });
    expect(await run(['revoke', '--id', 'none'])).toMatchObject({
      ...{ code: 1, stderr: 'api-key: no key has the id none\n' },
    });
    expect((await readAudit('ended')).slice(-2)).toEqual([
      ['operator', 'api_key.revoke', 'revoked', null],
      ['operator', 'api_key.revoke', 'revoked', null],
    ]);
  });

  it.each<[string, string[], string[]]>([
    ['no command', [], ['The command must be one of create, list, rotate, revoke']],
    ['an unknown command', ['delete'], ['The command must be one of create, list, rotate, revoke']],
    ['nothing but a command', ['create'], ['--name is required', '--scope is required, once for each scope']],
    [
      'an unknown scope',
      ['create', '--name', 'a', '--scope', 'admin'],
      [`--scope must be one of ${SCOPE_NAMES.join(', ')}`],
    ],
    [
      'a value that looks like an option',
      ['create', '--name', 'Ä', '--scope', 'users:read', '--expires-in', 'soon', '--daily-recipients', '-1'],
      ["Option '--daily-recipients' argument is ambiguous"],
    ],
    [
      'many faults at once',
      ['create', '--name=Ä', '--scope=users:read', '--expires-in=0d', '--daily-recipients=1e9', '--overlap=1h', 'now'],
      [
        'now is one argument too many',
        '--name must be 1 to 63 of a-z, 0-9, dot, underscore and hyphen, and begin with a letter or a digit',
        '--expires-in must be longer than nothing',
        '--daily-recipients must be a whole number',
        '--overlap is not for create',
      ],
    ],
    [
      'a number that is too large',
      ['create', '--name', 'a', '--scope', 'users:read', '--daily-recipients', '2147483648'],
      ['--daily-recipients must be at most 2147483647'],
    ],
    [
      'a name of 64 characters',
      ['rotate', '--name', 'a'.repeat(64)],
      ['--name must be 1 to 63 of a-z, 0-9, dot, underscore and hyphen, and begin with a letter or a digit'],
    ],
    [
      'a wrong overlap',
      ['rotate', '--name', 'a', '--overlap', '24'],
      ['--overlap must be a whole number with s, m, h or d, like 90d'],
    ],
    [
      'what a rotation cannot become',
      ['rotate', '--name=a', '--scope=admin', '--daily-recipients=all'],
      [`--scope must be one of ${SCOPE_NAMES.join(', ')}`, '--daily-recipients must be a whole number or none'],
    ],
    [
      'too large an allowance for a rotation',
      ['rotate', '--name=a', '--daily-recipients=2147483648'],
      ['--daily-recipients must be at most 2147483647'],
    ],
    [
      'a revival of what is new',
      ['create', '--name=a', '--scope=users:read', '--daily-recipients=none', '--revive'],
      ['--daily-recipients must be a whole number', '--revive is not for create'],
    ],
    ['nothing to revoke', ['revoke'], ['revoke needs either --name or --id']],
    ['both to revoke', ['revoke', '--name', 'a', '--id', 'b'], ['revoke needs either --name or --id']],
    ['an unknown option', ['list', '--json'], ["Unknown option '--json'"]],
    ['an option without its value', ['revoke', '--id'], ["Option '--id <value>' argument missing"]],
  ])('ends with 2 for %s, naming what is wrong, and does nothing', async (_case, args, problems) => {
    const { code, stdout, stderr } = await run(args, {});

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr.split('\n\nUsage: npm run -s api-key -- <command>')[0]?.split('\n')).toEqual(problems);
    expect(stderr).toContain('revoke --name <name> | --id <id>');
  });

  it('ends with 1 and one message where DATABASE_URL is missing or leads nowhere', async () => {
    const missing = await run(['list'], {});
    const away = await run(['list'], { DATABASE_URL: 'postgresql://127.0.0.1:1/none' });

    expect(missing).toEqual({
      ...{ code: 1, stdout: '', stderr: 'The configuration is not valid:\n  DATABASE_URL is required\n' },
    });
    expect(away).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^api-key: .+\n$/) });
  });
});
