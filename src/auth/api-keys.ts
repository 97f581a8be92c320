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
        insert into api_keys (id, name, scopes, secret_hash, daily_recipients, expires_at)
        select ${id}, ${name}, ${scopes}::text[], ${hashSecret(secret)}, ${dailyRecipients}::int, ${fromNow(expiresInSeconds)}
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
 * Gives a caller another key of the same scopes and allowance, and returns it. Every other valid key of the name ends
 * after `overlapSeconds`, or earlier if it would have anyway. Null: no key has this name.
 */
export async function rotateApiKey(
  db: Database,
  { name, overlapSeconds, expiresInSeconds }: { name: string; overlapSeconds: number; expiresInSeconds: number | null },
): Promise<string | null> {
  const { id, secret, text } = makeKey();
  const end = fromNow(overlapSeconds);
  const rows = await changeKeys<{ id: string }>(
    db,
    name,
    Prisma.sql`
      with latest as (
        select scopes, daily_recipients from api_keys where name = ${name} order by created_at desc, id limit 1
      ), ended as (
        update api_keys set expires_at = ${end}
        where name = ${name} and revoked_at is null and (expires_at is null or expires_at > ${end})
      ), written as (
        insert into api_keys (id, name, scopes, secret_hash, daily_recipients, expires_at)
        select ${id}, ${name}, scopes, ${hashSecret(secret)}, daily_recipients, ${fromNow(expiresInSeconds)} from latest
        returning id
      ), ${audited(OPERATOR, { action: 'api_key.rotate', object: `api_keys/${name}`, outcome: 'rotated' })}
      select id from written`,
  );
  return rows.length === 1 ? text : null;
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

/** A moment by the database's clock, which is the one that judges it. */
function fromNow(seconds: number | null): Prisma.Sql {
  return Prisma.sql`now() + make_interval(secs => ${seconds}::float8)`;
}
