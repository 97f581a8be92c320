import type { Pool } from 'pg';

/** Has the database itself note every completion, and every page that is taken over, in the transaction that does it. */
export async function addWitness(sql: Pool): Promise<void> {
  await sql.query(WITNESS);
}

const WITNESS = `
  create table witness (at timestamptz default clock_timestamp(), event text, notification_id uuid, page int, attempt int);
  create function note_completion() returns trigger language plpgsql as $$ begin
    insert into witness (event, notification_id) values ('completed', new.id);
    return null;
  end $$;
  create trigger note_completion after update on notifications for each row
    when (new.completed_at is distinct from old.completed_at) execute function note_completion();
  create function note_takeover() returns trigger language plpgsql as $$ begin
    insert into witness (event, notification_id, page, attempt) values ('taken over', new.notification_id, new.number, new.attempt);
    return null;
  end $$;
  create trigger note_takeover after update on pages for each row
    when (new.attempt > old.attempt and new.lease_until > now()) execute function note_takeover();`;
