import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import type { Owner } from './lifecycle.ts';
import { notificationProgressSchema } from './progress-schema.ts';
import { isDispatched, toResource, UNREAD_COLUMNS } from './resource.ts';
import { findYardstick } from './yardstick.ts';

/** How far a notification has come, as JSON on one line. `isLast`: nothing of it is left to do, so that it stays so unless it is retried. */
type Progress = { data: string; isLast: boolean };

/** @throws ServiceError notification_not_found, also when it is out of reach */
export type ReadProgress = (id: string, owner: Owner) => Promise<Progress>;

/** Columns of up to 256 KiB, which nobody needs to see how far it has come. */
const TEXT_COLUMNS = { subject: true, payload: true } as const;

/**
 * Reads for the watchers of a process: what was read of a notification serves all who ask within `intervalMs`, so that
 * it is read no more often, however many watch. So does a failure.
 */
export function createProgressReader(db: Database, intervalMs: number): ReadProgress {
  const shared = new Map<string, Promise<Reading | null>>();
  const readShared = (id: string) => {
    const known = shared.get(id);
    if (known !== undefined) return known;
    const reading = findProgress(db, id);
    shared.set(id, reading);
    const rest = sleep(intervalMs, undefined, { ref: false });
    void Promise.allSettled([reading, rest]).then(() => shared.delete(id));
    return reading;
  };
  return async (id, owner) => {
    const reading = await readShared(id);
    if (isWithinReach(reading, owner)) return reading;
    // Nobody is refused by what was read for others.
    const own = await findProgress(db, id);
    if (isWithinReach(own, owner)) return own;
    throw new ServiceError('notification_not_found');
  };
}

type Reading = Progress & { owner: string };

const isWithinReach = (reading: Reading | null, owner: Owner): reading is Reading =>
  reading !== null && (owner === null || reading.owner === owner);

/** Null: there is none. */
async function findProgress(db: Database, id: string): Promise<Reading | null> {
  const row = await db.notification.findUnique({ where: { id }, omit: { ...UNREAD_COLUMNS, ...TEXT_COLUMNS } });
  if (row === null) return null;
  const shown = { ...row, subject: null, payload: '' };
  const progress = notificationProgressSchema.encode(toResource(shown, await findYardstick(db, [shown])));
  return { data: JSON.stringify(progress), isLast: isDispatched(row), owner: row.created_by };
}
