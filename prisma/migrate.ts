/**
 * Migrations without Prisma's command, which downloads a native engine on first use: the same engine as WebAssembly comes
 * with npm. The folder and the table `_prisma_migrations` stay Prisma's own, so `prisma migrate deploy --config prisma/prisma.config.ts` works on them too.
 *
 *   node dist/prisma/migrate.js             applies what is missing to DATABASE_URL
 *   node dist/prisma/migrate.js new <name>  writes the migration from the latest one to schema.prisma
 */

import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { MigrationList, SchemasContainer } from '@prisma/schema-engine-wasm/schema_engine_bg';
import { Client } from 'pg';
import { configSchema, parseConfig } from '../src/config.ts';
import { startPostgres } from '../src/local/postgres.ts';
import { withSchemaEngine } from './schema-engine.ts';

const SCRIPT_NAME = 'migration.sql';
const LOCK_FILE = 'migration_lock.toml';

/** What the engine answers when there is nothing to do. */
const EMPTY_MIGRATION = '-- This is an empty migration.';

/** Everything in the database is ours. */
const NO_FILTER = { externalTables: [], externalEnums: [] };

/**
 * Applies the migrations that a database lacks, each in one transaction, and returns their names in order. Processes that
 * do so at once take turns. Rejects when the database is unreachable or a script fails.
 */
export async function applyMigrations(databaseUrl: string, prismaFolder = findPrismaFolder()): Promise<string[]> {
  const migrationsList = readMigrations(join(prismaFolder, 'migrations'));
  const { appliedMigrationNames } = await withSchemaEngine(databaseUrl, readSchema(prismaFolder), (engine) =>
    engine.applyMigrations({ migrationsList, filters: NO_FILTER }),
  );
  return appliedMigrationNames;
}

/**
 * The SQL that takes a database to what schema.prisma says; '' when they agree. What the schema language cannot say (partial
 * indexes) is not compared.
 */
export async function diffSchema(databaseUrl: string, prismaFolder = findPrismaFolder()): Promise<string> {
  const schema = readSchema(prismaFolder);
  const container: SchemasContainer = { files: [schema] };
  const { stdout } = await withSchemaEngine(databaseUrl, schema, (engine) =>
    engine.diff({
      from: { tag: 'schemaDatasource', configDir: prismaFolder, ...container },
      to: { tag: 'schemaDatamodel', ...container },
      script: true,
      exitCode: null,
      filters: NO_FILTER,
    }),
  );
  const script = stdout?.trim() ?? '';
  return script === EMPTY_MIGRATION ? '' : script;
}

/**
 * Writes `migrations/<timestamp>_<name>/migration.sql`, the step from the latest migration to schema.prisma, and returns
 * the folder's path; null when there is nothing to change. Works in a scratch database on the same server, which therefore
 * need not be up to date.
 */
export async function createMigration(
  databaseUrl: string,
  name: string,
  prismaFolder = findPrismaFolder(),
): Promise<string | null> {
  const script = await withScratchDatabase(databaseUrl, async (scratchUrl) => {
    await applyMigrations(scratchUrl, prismaFolder);
    return diffSchema(scratchUrl, prismaFolder);
  });
  if (script === '') return null;

  const timestamp = new Date().toISOString().replaceAll(/\D/g, '').slice(0, 'YYYYMMDDhhmmss'.length);
  const slug = name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_');
  const folder = join(prismaFolder, 'migrations', `${timestamp}_${slug}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, SCRIPT_NAME), `${script}\n`);
  return folder;
}

async function withScratchDatabase<T>(databaseUrl: string, work: (url: string) => Promise<T>): Promise<T> {
  const scratchUrl = new URL(databaseUrl);
  const database = `migration_scratch_${randomUUID().replaceAll('-', '')}`;
  scratchUrl.pathname = `/${database}`;

  const admin = new Client({ connectionString: databaseUrl });
  await admin.connect();
  try {
    await admin.query(`create database ${database} template template0`);
    return await work(scratchUrl.href);
  } finally {
    await admin.query(`drop database if exists ${database} with (force)`);
    await admin.end();
  }
}

function readSchema(prismaFolder: string): { path: string; content: string } {
  const path = join(prismaFolder, 'schema.prisma');
  return { path, content: readFileSync(path, 'utf8') };
}

function readMigrations(baseDir: string): MigrationList {
  const folders = readdirSync(baseDir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return {
    baseDir,
    lockfile: { path: LOCK_FILE, content: readFileSync(join(baseDir, LOCK_FILE), 'utf8') },
    shadowDbInitScript: '',
    migrationDirectories: folders
      .map(({ name }) => name)
      .toSorted()
      .map((path) => {
        const value = readFileSync(join(baseDir, path, SCRIPT_NAME), 'utf8');
        return { path, migrationFile: { path: SCRIPT_NAME, content: { tag: 'ok', value } } };
      }),
  };
}

/** `prisma/` beside the nearest package.json: this file runs from the sources and, built, from `dist/`. */
function findPrismaFolder(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  return join(folder, 'prisma');
}

async function runCommand([command, ...name]: string[]): Promise<string> {
  if (existsSync('.env')) process.loadEnvFile();

  if (command === 'new') {
    if (name.length === 0) throw new Error('Name the migration: npm run migrate:new -- add_push_channel');
    const folder = await withServer(process.env['DATABASE_URL'], (url) => createMigration(url, name.join('_')));
    return folder === null ? 'Nothing to change: the migrations already lead to schema.prisma.' : `Wrote ${folder}`;
  }

  if (command !== undefined) throw new Error(`Unknown command ${command}. There is none (apply) and new <name>.`);
  const { DATABASE_URL } = parseConfig(configSchema.pick({ DATABASE_URL: true }), process.env);
  const applied = await applyMigrations(DATABASE_URL);
  return applied.length === 0 ? 'Nothing to apply.' : applied.map((migration) => `Applied ${migration}`).join('\n');
}

/** Without a server at hand, a temporary embedded one does. */
async function withServer<T>(databaseUrl: string | undefined, work: (url: string) => Promise<T>): Promise<T> {
  if (databaseUrl) return work(databaseUrl);

  const dataDir = join(tmpdir(), `migration-${randomUUID()}`);
  const postgres = await startPostgres({ dataDir, port: 0, durable: false });
  try {
    return await work(postgres.url);
  } finally {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** A connection refused on several addresses has its reason in the parts. */
function explain(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(explain).join('; ');
  return error instanceof Error ? error.message : String(error);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  try {
    console.log(await runCommand(process.argv.slice(2)));
  } catch (error) {
    console.error(`Migration failed. ${explain(error)}`);
    process.exitCode = 1;
  }
}
