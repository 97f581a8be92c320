import type { Pool } from 'pg';

/**
 * Has the database itself note every completion, every page that is taken over, and who claimed it, in the transaction that
 * does it. A process says who it is by `sayWho` in its connection string.
 */
export async function addWitness(sql: Pool): Promise<void> {
  await sql.query(WITNESS);
}

const WITNESS = `
  create table witness (at timestamptz default clock_timestamp(), event text, notification_id uuid, page int, attempt int, instance text);
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
    when (new.attempt > old.attempt and new.lease_until > now()) execute function note_takeover();
  create function note_claim() returns trigger language plpgsql as $$ begin
    insert into witness (event, notification_id, page, attempt, instance)
    values ('claimed', new.notification_id, new.number, new.attempt, current_setting('witness.instance', true));
    return null;
  end $$;
  create trigger note_claim after insert or update of attempt on pages for each row execute function note_claim();`;

/** The connection string with which an instance says who it is. */
export function sayWho(databaseUrl: string, instance: string): string {
  const url = new URL(databaseUrl);
  url.searchParams.set('options', `-c witness.instance=${instance}`);
  return url.href;
}
