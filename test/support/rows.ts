import type { Database } from '../../src/database.ts';
import { Prisma } from '../../src/generated/client.ts';

/**
 * Every row of every table, in an order of its own, but for the day on which a key was last used, and the tables that a
 * process writes by itself.
 */
export async function readRows(db: Database): Promise<Record<string, unknown[]>> {
  const tables = await db.$queryRaw<{ name: string }[]>`
    select tablename as name from pg_tables
    where schemaname = 'public' and tablename not in ('jobs', 'publish_rate') order by tablename`;
  const rows: Record<string, unknown[]> = {};
  for (const { name } of tables) {
    rows[name] = await db.$queryRaw<unknown[]>`
      select to_jsonb(t) - 'last_used_on' as row from ${Prisma.raw(name)} t order by t::text`;
  }
  return rows;
}
