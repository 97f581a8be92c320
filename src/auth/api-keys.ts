import { type Actor, audited } from '../audit/record.ts';
import type { Database } from '../database.ts';
import { Prisma } from '../generated/client.ts';
import { hashSecret, makeKey } from './key-text.ts';
import type { Scope } from './principal.ts';

/** What a new caller may do. */
export type ApiKeyInput = {
  /** The caller, for ever: all keys of a name are one principal. */
  name: string;
  scopes: Scope[];
  /** Null: the key does not expire. */
  expiresInSeconds: number | null;
  /** Recipients a day on each channel; null: what the service's configuration says. */
  dailyRecipients: number | null;
};

/** How a caller gets another key. */
export type Rotation = {
  name: string;
  /** How long its other keys stay valid. */
  overlapSeconds: number;
  /** Null: the new key does not expire. */
  expiresInSeconds: number | null;
  /** All that the new key may do; undefined: what the latest one may. */
  scopes?: Scope[] | undefined;
  /** As of `ApiKeyInput`; undefined: what the latest key has. */
  dailyRecipients?: number | null | undefined;
  /** Whether a caller whose keys are all revoked or expired gets one too, which may undo an emergency. */
  revive?: boolean | undefined;
};

/** A key as it may be shown: nothing of its secret. `state` is by the database's clock. */
export type ApiKeyLine = {
  id: string;
  name: string;
  scopes: string[];
  daily_recipients: number | null;
  created_at: Date;
  expires_at: Date | null;
  last_used_on: Date | null;
  state: 'valid' | 'expired' | 'revoked';
};

/** Keys are changed by people who may use the database, whoever they are. */
const OPERATOR: Actor = { principal: 'operator', requestId: null };

/** Makes a caller known, and returns its key, which nobody can read again. Null: the name is taken, now or formerly. */
export async function createApiKey(db: Database, input: ApiKeyInput): Promise<string | null> {
  const { name, scopes, expiresInSeconds, dailyRecipients } = input;
  const { id, secret, text } = makeKey();
  const rows = await changeKeys<{ id: string }>(
    db,
    name,
    Prisma.sql`
      with written as (
        insert into api_keys (id, name, scopes, secret_hash, daily_recipients, created_at, expires_at)
        select ${id}, ${name}, ${scopes}::text[], ${hashSecret(secret)}, ${dailyRecipients}::int,
          statement_timestamp(), ${fromNow(expiresInSeconds)}
        where not exists (select from api_keys where name = ${name})
        returning id
      ), ${audited(OPERATOR, { action: 'api_key.create', object: `api_keys/${name}`, outcome: 'created' })}
      select id from written`,
  );
  return rows.length === 1 ? text : null;
}

/** Every key there is, by name and age. */
export function listApiKeys(db: Database): Promise<ApiKeyLine[]> {
  return db.$queryRaw<ApiKeyLine[]>`
    select id, name, scopes, daily_recipients, created_at, expires_at, last_used_on,
      case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'valid' end as state
    from api_keys order by name, created_at, id`;
}

/**
 * Gives a caller another key and returns it. Every other valid key of the name ends after `overlapSeconds`, or earlier if
 * it would have anyway, and keeps its scopes and allowance until then. Null: no key has this name, or none that is valid
 * and nobody said `revive`.
 */
export async function rotateApiKey(db: Database, rotation: Rotation): Promise<string | null> {
  const { name, overlapSeconds, expiresInSeconds, scopes, dailyRecipients, revive = false } = rotation;
  const { id, secret, text } = makeKey();
  const end = fromNow(overlapSeconds);
  const rows = await changeKeys<{ id: string }>(
    db,
    name,
    Prisma.sql`
      with latest as (
        select ${scopes === undefined ? Prisma.sql`scopes` : Prisma.sql`${scopes}::text[]`} as scopes,
          ${dailyRecipients === undefined ? Prisma.sql`daily_recipients` : Prisma.sql`${dailyRecipients}::int`} as daily_recipients
        from api_keys where name = ${name} and (${revive} or ${hasValidKey(name)}) order by created_at desc, id limit 1
      ), ended as (
        update api_keys set expires_at = ${end}
        where name = ${name} and revoked_at is null and (expires_at is null or expires_at > ${end})
      ), written as (
        insert into api_keys (id, name, scopes, secret_hash, daily_recipients, created_at, expires_at)
        select ${id}, ${name}, scopes, ${hashSecret(secret)}, daily_recipients, statement_timestamp(), ${fromNow(expiresInSeconds)}
        from latest
        returning id
      ), ${audited(OPERATOR, { action: 'api_key.rotate', object: `api_keys/${name}`, outcome: 'rotated' })}
      select id from written`,
  );
  return rows.length === 1 ? text : null;
}

function hasValidKey(name: string): Prisma.Sql {
  return Prisma.sql`exists (
    select from api_keys
    where name = ${name} and revoked_at is null and (expires_at is null or expires_at > statement_timestamp())
  )`;
}

/**
 * Ends a key, or all keys of a name, for good. `ids` are those that were not revoked before. Null: there is none such.
 */
export async function revokeApiKeys(
  db: Database,
  which: { id: string } | { name: string },
): Promise<{ name: string; ids: string[] } | null> {
  const key = await db.apiKey.findFirst({ where: which, select: { name: true } });
  if (key === null) return null;
  const { name } = key;
  const [row] = await changeKeys<{ ids: string[] }>(
    db,
    name,
    Prisma.sql`
      with revoked as (
        update api_keys set revoked_at = now()
        where name = ${name} and revoked_at is null ${'id' in which ? Prisma.sql`and id = ${which.id}` : Prisma.empty}
        returning id
      ), written as (
        select array_agg(id order by id) as ids from revoked having count(*) > 0
      ), ${audited(OPERATOR, { action: 'api_key.revoke', object: `api_keys/${name}`, outcome: 'revoked' })}
      select ids from written`,
  );
  return { name, ids: row?.ids ?? [] };
}

/** Runs a statement while nobody else changes the keys of a name: a rule across rows, which no index can hold. */
async function changeKeys<Row>(db: Database, name: string, statement: Prisma.Sql): Promise<Row[]> {
  const [, rows] = await db.$transaction([
    db.$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`api_keys/${name}`}, 0))`,
    db.$queryRaw<Row[]>(statement),
  ]);
  return rows;
}

/**
 * A moment by the database's clock, which is the one that judges it. The statement begins once the lock is held, so that
 * keys of a name are as old as their order says; the transaction began before.
 */
function fromNow(seconds: number | null): Prisma.Sql {
  return Prisma.sql`statement_timestamp() + make_interval(secs => ${seconds}::float8)`;
}
