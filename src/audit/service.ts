import type { Database } from '../database.ts';
import type { AuditEntry } from '../generated/client.ts';

/**
 * Audit entries, newest first, from behind the id `cursor`; all or those of one object.
 * Plan: the primary key backwards, or the index on object and id.
 */
export function listAuditEntries(
  db: Database,
  { object, limit, cursor }: { object?: string | undefined; limit: number; cursor?: string | undefined },
): Promise<AuditEntry[]> {
  return db.auditEntry.findMany({
    where: { ...(object !== undefined && { object }), ...(cursor !== undefined && { id: { lt: cursor } }) },
    orderBy: { id: 'desc' },
    take: limit,
  });
}
