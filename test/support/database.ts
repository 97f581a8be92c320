import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { inject } from 'vitest';

/**
 * Creates a database of the caller's own and returns its connection string: migrated and empty, or bare when copied from
 * PostgreSQL's `template0`. It goes with the whole server at the end of the run.
 */
export async function createTestDatabase(template = inject('templateDatabase')): Promise<string> {
  const database = `test_${randomUUID().replaceAll('-', '')}`;
  const url = new URL(inject('postgresUrl'));
  const admin = new Client({ connectionString: url.href });
  await admin.connect();
  try {
    await admin.query(`create database ${database} template ${template}`);
  } finally {
    await admin.end();
  }

  url.pathname = database;
  return url.href;
}
