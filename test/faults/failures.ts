import type { Rig } from './rig.ts';

type Failure = { notification_id: string; user_id: number; code: string; reason: string };

/** Everybody whom the service has given up, with what SNS said. */
export async function readFailures({ sql }: Rig): Promise<Failure[]> {
  const { rows } = await sql.query<Failure>(`
    select notification_id, (f ->> 'user_id')::int as user_id, f ->> 'code' as code, f ->> 'reason' as reason
    from pages, jsonb_array_elements(failures) f`);
  return rows;
}
