import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTHeaderParameters, type JWTPayload, SignJWT } from 'jose';
import { createApiKey } from '../../src/auth/api-keys.ts';
import { SCOPE_NAMES, type Scope } from '../../src/auth/principal.ts';
import { createDatabase, type Database } from '../../src/database.ts';
import { createTestDatabase } from './database.ts';
import { startTestService, type TestService } from './service.ts';

/** What a test says of a key; the rest is: every scope, no end, the service's own allowance. */
export type TestKey = {
  name: string;
  scopes?: Scope[];
  expiresInSeconds?: number | null;
  dailyRecipients?: number | null;
};

/** Stores a new caller's key and returns its text. Rejects when the name is known. */
export async function createTestKey(
  db: Database,
  { name, scopes = SCOPE_NAMES, expiresInSeconds = null, dailyRecipients = null }: TestKey,
): Promise<string> {
  const key = await createApiKey(db, { name, scopes, expiresInSeconds, dailyRecipients });
  if (key === null) throw new Error(`The name ${name} is taken.`);
  return key;
}

/** The header by which a call brings a key or a token, for `call`. */
export function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}

/**
 * The service as it runs in production, with AUTH=on. `key` belongs to the caller `root`, who has every scope.
 * The caller stops it.
 */
export async function startGuardedService(
  overrides: Record<string, string> = {},
): Promise<TestService & { key: string }> {
  const DATABASE_URL = await createTestDatabase();
  const db = createDatabase({ url: DATABASE_URL, poolMax: 1 });
  const key = await createTestKey(db, { name: 'root' });
  await db.$disconnect();
  const service = await startTestService({ AUTH: 'on', DATABASE_URL, ...overrides });
  return { ...service, key };
}

export type SignOptions = {
  /** A key of `addKey`; the first one by default. */
  kid?: string;
  /** Replaces members of the header. */
  header?: Partial<JWTHeaderParameters>;
};

export type Issuer = {
  /** Its `iss`. */
  issuer: string;
  /** The `aud` of what it signs, unless the claims say otherwise. */
  audience: string;
  /** The variables by which a service accepts its tokens. */
  env: { JWT_ISSUER: string; JWT_AUDIENCE: string; JWKS_URL: string };
  /** Signs claims, over `{iss, aud, sub: 'service', iat, exp: in an hour}`; a claim that is undefined is left out. */
  sign: (claims?: Record<string, unknown>, options?: SignOptions) => Promise<string>;
  /** Makes and publishes another RS256 key. */
  addKey: (kid: string) => Promise<void>;
  /** Publishes a key of the test's own, which signs with it by itself. */
  publish: (jwk: Record<string, unknown>) => void;
  /** Publishes a key no more; what it signs is still signed with it. */
  removeKey: (kid: string) => void;
  /** The public keys, as they are published. */
  jwks: () => { keys: Record<string, unknown>[] };
  /** Replaces the answer to every request from now on; null is the key set again. */
  answer: (respond: ((response: ServerResponse) => void) | null) => void;
  /** How many times the key set was asked for. */
  requests: () => number;
  stop: () => Promise<void>;
};

/** An issuer of JWTs with a key set served over HTTP. The caller stops it. */
export async function startIssuer(): Promise<Issuer> {
  const keys = new Map<string, { privateKey: CryptoKey; jwk: Record<string, unknown>; published: boolean }>();
  const foreign: Record<string, unknown>[] = [];
  const jwks = () => ({
    keys: [...[...keys.values()].filter(({ published }) => published).map(({ jwk }) => jwk), ...foreign],
  });
  let requests = 0;
  let respond: ((response: ServerResponse) => void) | null = null;
  const server = createServer((_request, response) => {
    requests += 1;
    if (respond !== null) respond(response);
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(jwks()));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const audience = 'notifications';
  const addKey = async (kid: string) => {
    const { privateKey, publicKey } = await generateKeyPair('RS256');
    const jwk = { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' };
    keys.set(kid, { privateKey, jwk, published: true });
  };
  await addKey('first');
  return {
    ...{ issuer, audience, addKey, jwks },
    env: { JWT_ISSUER: issuer, JWT_AUDIENCE: audience, JWKS_URL: `${issuer}/jwks.json` },
    async sign(claims = {}, { kid = 'first', header = {} } = {}) {
      const key = keys.get(kid);
      if (key === undefined) throw new Error(`The issuer has no key ${kid}.`);
      const now = Math.floor(Date.now() / 1000);
      const all = { iss: issuer, aud: audience, sub: 'service', iat: now, exp: now + 3_600, ...claims };
      const payload = JSON.parse(JSON.stringify(all)) as JWTPayload;
      return new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid, ...header }).sign(key.privateKey);
    },
    publish(jwk) {
      foreign.push(jwk);
    },
    removeKey(kid) {
      const key = keys.get(kid);
      if (key !== undefined) key.published = false;
    },
    answer(next) {
      respond = next;
    },
    requests: () => requests,
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
