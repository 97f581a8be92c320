import { timingSafeEqual } from 'node:crypto';
import type { Database } from '../database.ts';
import { createKeyCache } from './key-cache.ts';
import { hashSecret, parseKey } from './key-text.ts';
import { type Principal, pickScopes } from './principal.ts';
import { type RequestLog, refuseCredentials } from './refusal.ts';

/** What a process knows of a key. Moments are milliseconds of `performance.now()`, which no clock change moves. */
type KnownKey = {
  readAt: number;
  secretHash: Uint8Array;
  revoked: boolean;
  expiresAt: number;
  principal: Principal;
  /** Whether today's use is stored. */
  noted: boolean;
  /** The write that stores it; undefined: nobody has seen to it. */
  noting: Promise<unknown> | undefined;
};

/** Compared with where there is no key, so that an unknown id takes as long as a wrong secret. No secret hashes to it. */
const NO_HASH = Buffer.alloc(32);

/**
 * Returns how to find out whose key a text is. What it knows of a key is at most 3 s old; beyond that, it asks nothing.
 * The first use of a UTC day is stored before it is answered.
 *
 * @throws (what it returns) ServiceError credentials_invalid, unavailable; the database's error when it is away
 */
export function createApiKeyVerifier(db: Database): (text: string, log: RequestLog) => Promise<Principal> {
  const findKey = createKeyCache((id) => readKey(db, id));
  return async (text, log) => {
    const parts = parseKey(text);
    if (parts === null) return refuseCredentials(log, { reason: 'malformed key' });
    const { id, secret } = parts;
    const key = await findKey(id);
    const isRight = timingSafeEqual(hashSecret(secret), key?.secretHash ?? NO_HASH);
    if (key === null) return refuseCredentials(log, { reason: 'unknown key', key_id: id });
    if (!isRight) return refuseCredentials(log, { reason: 'wrong secret', key_id: id });
    if (key.revoked) return refuseCredentials(log, { reason: 'revoked', key_id: id });
    if (performance.now() >= key.expiresAt) return refuseCredentials(log, { reason: 'expired', key_id: id });
    if (!key.noted) await noteUse(db, id, key);
    return key.principal;
  };
}

type KeyRow = {
  name: string;
  scopes: string[];
  secret_hash: Uint8Array;
  daily_recipients: number | null;
  revoked: boolean;
  ms_left: number | null;
  used_today: boolean;
};

/** By the primary key. The database's clock alone says how long a key has left. */
async function readKey(db: Database, id: string): Promise<KnownKey | null> {
  const readAt = performance.now();
  const [row] = await db.$queryRaw<KeyRow[]>`
    select name, scopes, secret_hash, daily_recipients, revoked_at is not null as revoked,
      1000 * extract(epoch from expires_at - now())::float8 as ms_left,
      last_used_on is not distinct from (now() at time zone 'utc')::date as used_today
    from api_keys where id = ${id}`;
  if (row === undefined) return null;
  const principal = { id: `key:${row.name}`, scopes: pickScopes(row.scopes), dailyRecipients: row.daily_recipients };
  return {
    ...{ readAt, principal, secretHash: row.secret_hash, revoked: row.revoked },
    // From before the question: it may end a moment early, never late.
    expiresAt: readAt + (row.ms_left ?? Number.POSITIVE_INFINITY),
    ...{ noted: row.used_today, noting: undefined },
  };
}

/** Stores that a key was used today, once for all requests of the day, whichever process serves them. */
async function noteUse(db: Database, id: string, key: KnownKey): Promise<void> {
  key.noting ??= db.$executeRaw`
    update api_keys set last_used_on = (now() at time zone 'utc')::date
    where id = ${id} and last_used_on is distinct from (now() at time zone 'utc')::date`;
  try {
    await key.noting;
    key.noted = true;
  } catch (error) {
    key.noting = undefined;
    throw error;
  }
}
