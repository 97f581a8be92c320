import type { Rig } from './rig.ts';

/** How long a row may take to end what is under way: a lease that has to run out, a backoff, and the rest of a broadcast. */
export const COMPLETION_TIMEOUT_MS = { full: 180_000, short: 60_000 };

/** Notifications whose counts do not add up at this moment: what is pending is what open pages and the rest of a list have. */
export async function findImbalance({ sql }: Pick<Rig, 'sql'>): Promise<string[]> {
  const { rows } = await sql.query<{ id: string; pending: number; open: number }>(`
    select * from (
      select n.id, n.targeted - n.published - n.failed
          - (select coalesce(sum(value::int), 0) from jsonb_each_text(n.suppressed)) as pending,
        (select coalesce(sum(p.users), 0) from pages p where p.notification_id = n.id and p.state = 'open')
          + case when n.everyone then 0 else (select count(*) from unnest(n.user_ids) as a(id) where a.id > n.cursor) end as open
      from notifications n
    ) counted where pending <> open`);
  return rows.map(({ id, pending, open }) => `${id}: ${pending} pending while ${open} were open`);
}
