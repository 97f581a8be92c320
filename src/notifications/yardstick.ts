import type { Database } from '../database.ts';
import { NO_YARDSTICK, needsYardstick, type Yardstick } from './resource.ts';

/** What it takes to show notifications. Asked for only when one of them is under way. Plan: two index look-ups. */
export async function findYardstick(db: Database, rows: Parameters<typeof needsYardstick>[0][]): Promise<Yardstick> {
  if (!rows.some(needsYardstick)) return NO_YARDSTICK;
  const [yardstick] = await db.$queryRaw<Yardstick[]>`
    select now() as now, coalesce(min(user_id), 0) as first, coalesce(max(user_id), 0) as last from users`;
  return yardstick ?? NO_YARDSTICK;
}
