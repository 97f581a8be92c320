import { hash } from 'node:crypto';
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { ServiceError } from '../errors.ts';
import { createKeyFinder } from './jwt-keys.ts';
import { type Principal, pickScopes } from './principal.ts';
import { type RequestLog, refuseCredentials } from './refusal.ts';

/** Whose tokens are accepted, and for whom they have to be. */
export type JwtOptions = { issuer: string; audience: string; jwksUrl: string };

/**
 * What issuers sign with. Asymmetric only: by HS*, the published key would be the secret. A list of ours, as the header
 * of a token is whoever's who wrote it (RFC 8725, section 3.1).
 */
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
/**
 * What an access token may call itself, in lower case, or nothing: by the same key an issuer signs other kinds too, like
 * `logout+jwt` (RFC 9068, section 4; RFC 8725, section 3.11).
 */
const TYPES = ['jwt', 'at+jwt', 'application/at+jwt'];
/** Three parts of base64url without padding (RFC 7515, section 7.1), of which jose would forgive some. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** Beyond any issuer's; refused unread. */
const TOKEN_CHARS_MAX = 8_192;
/** A verified token is not verified again for this, so that a withdrawn key works this much longer than its set is kept. */
const TOKEN_AGE_MS_MAX = 60_000;
/** Verified tokens kept: about 5 MB. */
const TOKENS_MAX = 10_000;
/** With `jwt:` before it, a principal's id stays within 128 printable ASCII characters. */
const SUBJECT = /^[!-~]{1,120}$/;
/** An e-mail address within, or a phone number; and what reads like the hash of one, lest it be taken for that. */
const HASHED_SUBJECT = /@.*\.|^\+\d{7,15}$|^sha256:/;

type Verified = { principal: Principal; verifiedAt: number; expiresAtMs: number };

/**
 * Returns how to find out whom a token speaks for (RFC 7519). Verified tokens are known by their SHA-256 for a while, and
 * never beyond their `exp`. The principal is `jwt:` and the subject; of one that is an address, `jwt:sha256:` and the
 * base64url of its SHA-256, as principals go to logs, the audit log and SNS.
 *
 * @throws (what it returns) ServiceError credentials_invalid; credentials_unverifiable when the issuer's keys cannot be had
 */
export function createJwtVerifier(options: JwtOptions): (token: string, log: RequestLog) => Promise<Principal> {
  const findKey = createKeyFinder(options.jwksUrl);
  const known = new Map<string, Verified>();
  return async (token, log) => {
    if (token.length > TOKEN_CHARS_MAX) return refuseCredentials(log, { reason: 'token too long' });
    if (!COMPACT.test(token)) return refuseCredentials(log, { reason: 'malformed token' });
    const digest = hash('sha256', token, 'base64');
    const cached = known.get(digest);
    if (cached !== undefined && isCurrent(cached)) return cached.principal;
    const verifiedAt = performance.now();
    const { payload, protectedHeader } = await verifyToken(token, findKey, options, log);
    requireAccessToken(protectedHeader, log);
    const principal = readPrincipal(payload, log);
    keep(known, digest, { principal, verifiedAt, expiresAtMs: Number(payload.exp) * 1_000 });
    return principal;
  };
}

function isCurrent({ verifiedAt, expiresAtMs }: Verified): boolean {
  return performance.now() - verifiedAt < TOKEN_AGE_MS_MAX && Date.now() < expiresAtMs;
}

/** Whatever is wrong with a token is the caller's fault, unless the issuer's keys cannot be had. */
async function verifyToken(token: string, findKey: JWTVerifyGetKey, { issuer, audience }: JwtOptions, log: RequestLog) {
  const rules = { algorithms: ALGORITHMS, requiredClaims: ['exp', 'sub'], clockTolerance: 0 };
  try {
    return await jwtVerify(token, findKey, { issuer, audience, ...rules });
  } catch (error) {
    if (!(error instanceof ServiceError)) return refuseCredentials(log, { reason: describeFault(error) });
    if (error.cause !== undefined) log.warn({ err: findCause(error) }, 'keys of the issuer unavailable');
    throw error;
  }
}

/** By codes and names of claims; a message might quote the token. */
function describeFault(error: unknown): string {
  if (error instanceof errors.JWTClaimValidationFailed || error instanceof errors.JWTExpired) {
    return `${error.code} ${error.claim}`;
  }
  return error instanceof errors.JOSEError ? error.code : 'unusable token';
}

/** What `fetch` says is in its cause. */
function findCause(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? findCause(error.cause) : error;
}

function requireAccessToken({ typ }: { typ?: unknown }, log: RequestLog): void {
  if (typ === undefined || (typeof typ === 'string' && TYPES.includes(typ.toLowerCase()))) return;
  refuseCredentials(log, { reason: 'unusable typ' });
}

/** Scopes come as one text, separated by spaces (RFC 8693, section 4.2). */
function readPrincipal({ sub, scope }: JWTPayload, log: RequestLog): Principal {
  if (typeof sub !== 'string' || !SUBJECT.test(sub)) return refuseCredentials(log, { reason: 'unusable sub' });
  const scopes = pickScopes(typeof scope === 'string' ? scope.split(' ') : []);
  const subject = HASHED_SUBJECT.test(sub) ? `sha256:${hash('sha256', sub, 'base64url')}` : sub;
  return { id: `jwt:${subject}`, scopes, dailyRecipients: null };
}

/** The token that was verified longest ago makes room. */
function keep(known: Map<string, Verified>, digest: string, verified: Verified): void {
  known.delete(digest);
  const [oldest] = known.size >= TOKENS_MAX ? known.keys() : [];
  if (oldest !== undefined) known.delete(oldest);
  known.set(digest, verified);
}
