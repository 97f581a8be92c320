import { type Database, queryPool } from './database.ts';
import { Prisma } from './generated/client.ts';

/** Reads by a user's id. Null: there is no such row. */
export type ReadRow<Row> = (userId: number) => Promise<Row | null>;

/** Statements at a time: with a second one nobody waits for one that is slow, and more would only make batches smaller. */
const READS_MAX = 2;
/** Ids of a statement, at most: as many as are likely to ask at the same time. */
const BATCH_IDS_MAX = 500;

type Waiting<Row> = { userId: number; resolve: (row: Row | null) => void; reject: (error: unknown) => void };

/**
 * Reads rows for all who ask at the same time by one statement, which costs about as much as one for a single row. Whoever
 * asks while `READS_MAX` are under way waits for the next; nobody is given what was read before they asked.
 *
 * @param selected - SQL of a `select` with the column `user_id`, without its `where`.
 */
export function coalesceReads<Row extends { user_id: number }>(db: Database, selected: Prisma.Sql): ReadRow<Row> {
  let waiting: Waiting<Row>[] = [];
  let reading = 0;
  const readNext = async () => {
    const batch = waiting.slice(0, BATCH_IDS_MAX);
    waiting = waiting.slice(BATCH_IDS_MAX);
    reading += 1;
    try {
      const ids = `{${batch.map(({ userId }) => userId).join()}}`;
      const { rows } = await queryPool(db, Prisma.sql`${selected} where user_id = any(${ids}::int[])`);
      const found = new Map((rows as Row[]).map((row) => [row.user_id, row]));
      for (const { userId, resolve } of batch) resolve(found.get(userId) ?? null);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    } finally {
      reading -= 1;
      if (waiting.length > 0) void readNext();
    }
  };
  const start = () => {
    if (waiting.length > 0 && reading < READS_MAX) void readNext();
  };
  return (userId) =>
    new Promise((resolve, reject) => {
      waiting.push({ userId, resolve, reject });
      // After all that arrives in this turn of the event loop.
      if (waiting.length === 1) setImmediate(start);
    });
}
