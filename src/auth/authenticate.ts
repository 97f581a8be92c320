import type { Config } from '../config.ts';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { createJwtVerifier } from './jwt.ts';
import { KEY_PREFIX } from './key-text.ts';
import { createApiKeyVerifier } from './key-verifier.ts';
import { ANONYMOUS, type Principal } from './principal.ts';
import { type RequestLog, refuseCredentials } from './refusal.ts';

/** Exactly one token (RFC 6750, section 2.1); the scheme in any case (RFC 9110, section 11.1). */
const BEARER = /^Bearer +([\w.~+/-]+=*)$/i;

type Verify = (token: string, log: RequestLog) => Promise<Principal>;

/**
 * Returns how to find out who calls, as the configuration says: from an API key, or from a JWT where an issuer is
 * configured. A key or token that was seen in the last seconds is judged without asking anybody.
 */
export function createAuthenticator(config: Config, db: Database) {
  const verifyKey = createApiKeyVerifier(db);
  const verifyToken = createTokenVerifier(config);
  return async (authorization: string | undefined, log: RequestLog): Promise<Principal> => {
    if (config.AUTH === 'off') return ANONYMOUS;
    if (authorization === undefined) throw new ServiceError('credentials_missing');
    const [, token] = BEARER.exec(authorization) ?? [];
    if (token === undefined) return refuseCredentials(log, { reason: 'not a bearer token' });
    return token.startsWith(KEY_PREFIX) ? verifyKey(token, log) : verifyToken(token, log);
  };
}

function createTokenVerifier({ JWT_ISSUER: issuer, JWT_AUDIENCE: audience, JWKS_URL: jwksUrl }: Config): Verify {
  if (issuer === undefined || audience === undefined || jwksUrl === undefined) {
    return async (_token, log) => refuseCredentials(log, { reason: 'not an API key, and no issuer is configured' });
  }
  return createJwtVerifier({ issuer, audience, jwksUrl });
}
