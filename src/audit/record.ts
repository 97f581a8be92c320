import { v7 as uuidv7 } from 'uuid';
import { Prisma } from '../generated/client.ts';

/** Who changes something, and by which request; null when it comes by a command. */
export type Actor = { principal: string; requestId: string | null };

type Change = {
  /** Like `preference.put`. */
  action: string;
  /** Like `preferences/42`: ids only. */
  object: string;
  /** Like `created`, or SQL over the row of `written` that yields it. */
  outcome: string | Prisma.Sql;
};

/**
 * The CTE that records a change in the statement that makes it: `with written as (update … returning …), ${audited(…)}
 * select … from written`. Nothing is recorded when `written` has no row.
 */
export function audited({ principal, requestId }: Actor, { action, object, outcome }: Change): Prisma.Sql {
  return Prisma.sql`audited as (
    insert into audit_log (id, principal, action, object, outcome, request_id)
    select ${uuidv7()}::uuid, ${principal}, ${action}, ${object}, ${outcome}, ${requestId} from written
  )`;
}
