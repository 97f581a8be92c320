import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import type { TestProject } from 'vitest/node';
import { applyMigrations } from '../../prisma/migrate.ts';
import { startEmulator } from '../../src/local/emulator.ts';
import { type RunningPostgres, startPostgres } from '../../src/local/postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** A superuser's connection string; `createTestDatabase` derives each file's own from it. */
    postgresUrl: string;
    /** The migrated and empty database that every test database is a copy of. */
    templateDatabase: string;
    /** The SNS and SQS of this run. Names of topics and queues are the tests' to keep apart. */
    emulatorUrl: string;
  }
}

const TEMPLATE_DATABASE = 'template_service';

/** Starts PostgreSQL, with the template database, and the SNS/SQS emulator once for all test files. */
export default async function startInfrastructure(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'notification-service-test-'));
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), port: 0, durable: false });
  const stopPostgres = async () => {
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  };

  try {
    await createTemplate(postgres);
    const emulator = await startEmulator(0);
    project.provide('postgresUrl', postgres.url);
    project.provide('templateDatabase', TEMPLATE_DATABASE);
    project.provide('emulatorUrl', emulator.url);
    return async () => {
      await emulator.stop();
      await stopPostgres();
    };
  } catch (error) {
    await stopPostgres();
    throw error;
  }
}

async function createTemplate(postgres: RunningPostgres): Promise<void> {
  const admin = new Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query(`create database ${TEMPLATE_DATABASE}`);

  const templateUrl = new URL(postgres.url);
  templateUrl.pathname = TEMPLATE_DATABASE;
  await applyMigrations(templateUrl.href);
  // PostgreSQL copies no database that somebody is connected to.
  await admin.query(`alter database ${TEMPLATE_DATABASE} with allow_connections false`);
  await admin.end();
}
