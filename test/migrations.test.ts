import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client, type QueryResultRow } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyMigrations, createMigration, diffSchema } from '../prisma/migrate.ts';
import { createTestDatabase } from './support/database.ts';

const PRISMA_FOLDER = join(import.meta.dirname, '../prisma');
const COMMAND = join(import.meta.dirname, '../dist/prisma/migrate.js');

let databaseUrl: string;
let folder: string;

beforeEach(async () => {
  databaseUrl = await createTestDatabase('template0');
  folder = await mkdtemp(join(tmpdir(), 'migrations-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('applyMigrations', () => {
  it('takes an empty database to all tables and indexes', async () => {
    const applied = await applyMigrations(databaseUrl);

    expect(applied).toEqual(await migrationNames(PRISMA_FOLDER));
    const relations = await runSql(
      `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'i')`,
    );
    expect(relations.map((row) => row['relname'])).toEqual(
      expect.arrayContaining([
        'users',
        'preferences',
        'notifications',
        'pages',
        'notifications_due',
        'pages_open',
        'pages_failed',
      ]),
    );
  });

  it('applies nothing the second time', async () => {
    await applyMigrations(databaseUrl);

    expect(await applyMigrations(databaseUrl)).toEqual([]);
  });

  it("leaves the rows that Prisma's own command expects", async () => {
    await applyMigrations(databaseUrl);

    const rows = await runSql(
      'select migration_name, checksum, finished_at is not null as finished, rolled_back_at from _prisma_migrations',
    );
    const scripts = await Promise.all((await migrationNames(PRISMA_FOLDER)).map(readScript));
    expect(rows).toEqual(
      scripts.map(({ name, script }) => ({
        migration_name: name,
        checksum: createHash('sha256').update(script).digest('hex'),
        finished: true,
        rolled_back_at: null,
      })),
    );
  });

  it('applies a script whole or not at all', async () => {
    await cp(PRISMA_FOLDER, folder, { recursive: true });
    const broken = join(folder, 'migrations', '29990101000000_broken');
    await mkdir(broken);
    await writeFile(join(broken, 'migration.sql'), "create table half (note text default 'a;b'); select 1 / 0;");

    await expect(applyMigrations(databaseUrl, folder)).rejects.toThrow('division by zero');

    expect(await runSql(`select to_regclass('half') as half, to_regclass('users')::text as users`)).toEqual([
      { half: null, users: 'users' },
    ]);
  });

  it('takes what looks like an address out of reasons that were kept before they were shown', async () => {
    await cp(PRISMA_FOLDER, folder, { recursive: true });
    for (const name of await migrationNames(folder)) {
      if (name >= '20261124120000_retry') await rm(join(folder, 'migrations', name), { recursive: true });
    }
    await applyMigrations(databaseUrl, folder);
    const failures = [
      { user_id: 1, code: 'InvalidParameter', reason: 'not for "ada@example.com", +15550000042' },
      { user_id: 2, code: 'InvalidParameter', reason: 'more than 262144 bytes' },
    ];
    await runSql(`
      insert into notifications (id, payload, everyone, channels, status, created_by)
        values (gen_random_uuid(), 'a', true, '{email}', 'completed', 'key:a');
      insert into pages (notification_id, number, first_user_id, last_user_id, users, failures)
        select id, 1, 1, 2, 2, '${JSON.stringify(failures)}' from notifications;`);

    await applyMigrations(databaseUrl);

    expect(await runSql('select failures from pages')).toEqual([
      { failures: [{ ...failures[0], reason: 'not for "[hidden]", [hidden]' }, failures[1]] },
    ]);
  });
});

describe('diffSchema', () => {
  it('finds that migrations and schema agree', async () => {
    await applyMigrations(databaseUrl);

    expect(await diffSchema(databaseUrl)).toBe('');
  });

  it('tells a database that lacks a column', async () => {
    await applyMigrations(databaseUrl);
    await runSql('alter table users drop column phone');

    expect(await diffSchema(databaseUrl)).toContain('ADD COLUMN     "phone" TEXT');
  });

  it('tells a schema that has a new column', async () => {
    await applyMigrations(databaseUrl);
    await changeSchema();

    expect(await diffSchema(databaseUrl, folder)).toContain('ADD COLUMN     "push_token" TEXT');
  });
});

describe('createMigration', () => {
  it('writes the step to a changed schema, which then applies', async () => {
    await applyMigrations(databaseUrl);
    await changeSchema();

    const written = await createMigration(databaseUrl, 'Add push token', folder);

    expect(written).toMatch(/migrations\/\d{14}_add_push_token$/);
    expect(await applyMigrations(databaseUrl, folder)).toHaveLength(1);
    expect(await diffSchema(databaseUrl, folder)).toBe('');
  });

  it('writes nothing when there is nothing to change', async () => {
    await cp(PRISMA_FOLDER, folder, { recursive: true });

    expect(await createMigration(databaseUrl, 'idle', folder)).toBeNull();

    expect(await migrationNames(folder)).toEqual(await migrationNames(PRISMA_FOLDER));
  });
});

describe('npm run migrate', () => {
  it('lets two processes migrate one database at once', async () => {
    const outputs = await Promise.all([runMigrate(databaseUrl), runMigrate(databaseUrl)]);

    const names = await migrationNames(PRISMA_FOLDER);
    const applied = names.map((name) => `Applied ${name}\n`).join('');
    expect(outputs.toSorted()).toEqual([applied, 'Nothing to apply.\n'].toSorted());
  });

  it('exits with 1 and the reason when the database is unreachable', async () => {
    await expect(runMigrate('postgresql://postgres@127.0.0.1:1/none')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ECONNREFUSED 127.0.0.1:1'),
    });
  });

  it('exits with 1 and names the variable when DATABASE_URL is missing', async () => {
    await expect(runMigrate('')).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('DATABASE_URL') });
  });
});

async function changeSchema(): Promise<void> {
  await cp(PRISMA_FOLDER, folder, { recursive: true });
  const path = join(folder, 'schema.prisma');
  const schema = await readFile(path, 'utf8');
  await writeFile(path, schema.replace('model User {', 'model User {\n  push_token String?'));
}

async function migrationNames(prismaFolder: string): Promise<string[]> {
  const entries = await readdir(join(prismaFolder, 'migrations'), { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .toSorted();
}

async function readScript(name: string): Promise<{ name: string; script: string }> {
  return { name, script: await readFile(join(PRISMA_FOLDER, 'migrations', name, 'migration.sql'), 'utf8') };
}

async function runMigrate(url: string): Promise<string> {
  // Another folder than ours, where somebody's .env may lie.
  const options = { cwd: folder, env: { ...process.env, DATABASE_URL: url } };
  const { stdout } = await promisify(execFile)(process.execPath, [COMMAND], options);
  return stdout;
}

async function runSql(sql: string): Promise<QueryResultRow[]> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
