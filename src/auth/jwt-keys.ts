import { createRemoteJWKSet, customFetch, errors, type FetchImplementation, type JWTVerifyGetKey } from 'jose';
import { ServiceError } from '../errors.ts';

/** The key set has arrived by then, or cannot be had. */
const FETCH_TIMEOUT_MS = 3_000;
/** A key that the set did not have is looked for again after this: a new key of the issuer works within 30 s. */
const COOLDOWN_MS = 30_000;
/** The set is fetched anew after this: a key that the issuer withdraws verifies nothing after 5 minutes. */
const KEYS_AGE_MS_MAX = 300_000;
/** After a fetch that failed, none is tried for this: whoever sends made-up tokens must not make us storm the issuer. */
const FETCH_PAUSE_MS = 1_000;

/**
 * Returns how to find the key that a token names, among those the issuer publishes and nowhere else.
 *
 * @throws (what it returns) ServiceError credentials_unverifiable when the keys cannot be had, with a `cause` once for
 * each fetch that failed; an error of jose when there is no such key
 */
export function createKeyFinder(jwksUrl: string): JWTVerifyGetKey {
  let failedAt = Number.NEGATIVE_INFINITY;
  const isPausing = () => performance.now() - failedAt < FETCH_PAUSE_MS;
  const fetchUnlessPausing: FetchImplementation = async (url, options) => {
    if (isPausing()) throw new Error('The last fetch has just failed.');
    return fetch(url, options);
  };
  const findKey = createRemoteJWKSet(new URL(jwksUrl), {
    ...{ timeoutDuration: FETCH_TIMEOUT_MS, cooldownDuration: COOLDOWN_MS, cacheMaxAge: KEYS_AGE_MS_MAX },
    [customFetch]: fetchUnlessPausing,
  });
  return async (header, token) => {
    try {
      return await findKey(header, token);
    } catch (cause) {
      if (TOKEN_FAULTS.some((fault) => cause instanceof fault)) throw cause;
      const unverifiable = new ServiceError('credentials_unverifiable');
      // Whoever waited for the same fetch, or was refused one, comes within the pause.
      if (isPausing()) throw unverifiable;
      failedAt = performance.now();
      throw Object.assign(unverifiable, { cause });
    }
  };
}

/** No such key, more than one, or no algorithm that a key could have: the keys themselves are there. */
const TOKEN_FAULTS = [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported];
