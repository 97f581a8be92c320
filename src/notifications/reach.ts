import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import type { Owner } from './lifecycle.ts';

/** One that is out of reach is looked up, found missing and answered like one that does not exist. */
export const withinReach = (id: string, owner: Owner) => ({ id, ...(owner !== null && { created_by: owner }) });

/** @throws ServiceError notification_not_found */
export async function requireReachable(db: Database, id: string, owner: Owner): Promise<void> {
  const row = await db.notification.findUnique({ where: withinReach(id, owner), select: { id: true } });
  if (row === null) throw new ServiceError('notification_not_found');
}
