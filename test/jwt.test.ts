import {
  createHash,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign as signBytes,
} from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { CompactEncrypt } from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createJwtVerifier } from '../src/auth/jwt.ts';
import { bearer, type Issuer, type SignOptions, startGuardedService, startIssuer } from './support/auth.ts';
import { createLog, eventually } from './support/dispatch.ts';
import { call, type Reply, startTestService, type TestService } from './support/service.ts';

type Claims = Record<string, unknown>;

let issuer: Issuer;
/** Whoever is not the issuer, with a key of the same name. */
let attacker: Issuer;
let service: TestService & { key: string };

/** Keys of other kinds that the issuer publishes too. */
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const edwards = generateKeyPairSync('ed25519');

beforeAll(async () => {
  issuer = await startIssuer();
  attacker = await startIssuer();
  for (const [kid, { publicKey }] of Object.entries({ rsa, weak, curve, edwards })) {
    issuer.publish({ ...publicKey.export({ format: 'jwk' }), kid });
  }
  service = await startGuardedService(issuer.env);
});

afterAll(async () => {
  await service.stop();
  await issuer.stop();
  await attacker.stop();
});

function getUsers(token: string, where: { url: string } = service): Promise<Reply> {
  return call(where, 'GET', '/users', undefined, bearer(token));
}

const encode = (part: unknown) =>
  Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);
const CLAIMS = { sub: 'service', scope: 'users:read' };
const validClaims = () => ({ iss: issuer.issuer, aud: issuer.audience, exp: now() + 3_600, ...CLAIMS });

/** A token of any header, signed over whatever it says. */
function compose(header: unknown, sign: (input: string) => Buffer | string, claims: unknown = validClaims()): string {
  const input = `${encode(header)}.${encode(claims)}`;
  const signature = sign(input);
  return `${input}.${typeof signature === 'string' ? signature : signature.toString('base64url')}`;
}

const signRsa = (key: KeyObject) => (input: string) => signBytes('sha256', Buffer.from(input), key);
const signHmac = (secret: string | Buffer) => (input: string) => createHmac('sha256', secret).update(input).digest();
/** The issuer's public key, as anybody has it. */
const publicJwk = () => issuer.jwks().keys[0] ?? {};
const publicPem = () => createPublicKey({ key: publicJwk(), format: 'jwk' }).export({ type: 'spki', format: 'pem' });
/** The issuer's own token, taken apart. */
async function split(claims: Claims = CLAIMS): Promise<[string, string, string]> {
  const [header = '', payload = '', signature = ''] = (await issuer.sign(claims)).split('.');
  return [header, payload, signature];
}
/** Signed by the attacker in the issuer's name, with a header that points to the attacker's key. */
const pointTo = (header: () => NonNullable<SignOptions['header']>) => () =>
  attacker.sign(validClaims(), { header: header() });
const withKid = (kid: unknown) => () => compose({ alg: 'RS256', kid }, signRsa(rsa.privateKey));
const withHeader = (header: NonNullable<SignOptions['header']>) => () => issuer.sign(CLAIMS, { header });
const withClaims = (claims: () => Claims) => () => issuer.sign({ ...CLAIMS, ...claims() });

describe('a JWT of the issuer', () => {
  it('lets its subject in, with the scopes it names', async () => {
    const token = await issuer.sign({ scope: 'users:read notifications:send admin __proto__ users:*' });
    const body = { payload: 'Your statement is ready', user_ids: [1] };
    const sent = await call(service, 'POST', '/notifications', body, bearer(token));
    const refused = await call(service, 'PUT', '/users/1', { email: null, phone: null }, bearer(token));
    const row = await service.db.notification.findFirst({ where: { created_by: 'jwt:service' } });

    expect(await getUsers(token)).toMatchObject({ status: 200 });
    expect(sent.status).toBe(202);
    expect(refused).toMatchObject({ status: 403, body: { code: 'scope_missing', scopes: ['users:write'] } });
    expect(row).not.toBeNull();
  });

  it.each<[string, () => string | Promise<string>]>([
    ['RS256', () => compose({ alg: 'RS256', kid: 'rsa' }, signRsa(rsa.privateKey))],
    [
      'PS256',
      () =>
        compose({ alg: 'PS256', kid: 'rsa' }, (input) =>
          signBytes('sha256', Buffer.from(input), { key: rsa.privateKey, padding: 6, saltLength: 32 }),
        ),
    ],
    [
      'ES256',
      () =>
        compose({ alg: 'ES256', kid: 'curve' }, (input) =>
          signBytes('sha256', Buffer.from(input), { key: curve.privateKey, dsaEncoding: 'ieee-p1363' }),
        ),
    ],
    [
      'EdDSA',
      () =>
        compose({ alg: 'EdDSA', kid: 'edwards' }, (input) => signBytes(null, Buffer.from(input), edwards.privateKey)),
    ],
    ['a list of audiences with ours', withClaims(() => ({ aud: ['other', issuer.audience] }))],
    ['nbf in the past', withClaims(() => ({ nbf: now() - 1 }))],
    ['120 characters of sub', withClaims(() => ({ sub: '~'.repeat(120) }))],
    ...['JWT', 'jwt', 'at+jwt', 'AT+JWT', 'application/at+jwt'].map((typ): [string, () => Promise<string>] => [
      ...([`the typ ${typ}`, withHeader({ typ })] as const),
    ]),
  ])('is accepted with %s', async (_kind, make) => {
    expect(await getUsers(await make())).toMatchObject({ status: 200 });
  });

  it.each<[string, Claims]>([
    ['no scope', { scope: undefined }],
    ['an array for a scope', { scope: ['users:read'] }],
    ['an object for a scope', { scope: { 'users:read': true } }],
    ['another claim for scopes', { scope: undefined, scp: 'users:read', permissions: ['users:read'] }],
    ['other separators', { scope: 'users:read,users:write' }],
  ])('allows nothing with %s', async (_kind, claims) => {
    const reply = await getUsers(await issuer.sign({ ...CLAIMS, ...claims }));

    expect(reply).toMatchObject({ status: 403, body: { code: 'scope_missing' } });
  });

  it.each(['ada@example.com', 'auth0|ada@mail.example.com', '+4915112345678', '+1555000'])(
    'is of a principal without the address that is its subject: %s',
    async (sub) => {
      const body = { payload: 'Your statement is ready', user_ids: [1] };
      const token = await issuer.sign({ sub, scope: 'notifications:send' });
      const sent = await call(service, 'POST', '/notifications', body, bearer(token));
      const { id } = sent.body as { id: string };
      const row = await service.db.notification.findUnique({ where: { id } });
      const audit = await service.db.auditEntry.findFirst({ where: { object: `notifications/${id}` } });

      const principal = `jwt:sha256:${createHash('sha256').update(sub).digest('base64url')}`;
      expect([row?.created_by, audit?.principal]).toEqual([principal, principal]);
      expect(JSON.stringify(service.logs)).not.toContain(sub);
    },
  );

  it('is of a principal of its own, though its subject reads like the hash of an address', async () => {
    const own = await startOwnIssuer();
    const { verify } = createVerifier(own);
    const { id } = await verify(await own.sign({ sub: 'ada@example.com' }));
    const sub = id.slice('jwt:'.length);

    expect(sub).toMatch(/^sha256:[\w-]{43}$/);
    expect((await verify(await own.sign({ sub }))).id).not.toBe(id);
  });

  it.each(['abc@clients', 'client@', '+155500', '+1234567890123456', '15551234567', 'a.b@c'])(
    'is of a principal with its subject, where that is no address: %s',
    async (sub) => {
      const own = await startOwnIssuer();

      expect(await createVerifier(own).verify(await own.sign({ sub }))).toMatchObject({ id: `jwt:${sub}` });
    },
  );

  it('is kept from the log', async () => {
    const token = await issuer.sign({ ...CLAIMS, jti: 'accepted' });
    const [, payload, signature] = await split({ ...CLAIMS, exp: now() - 1 });
    await getUsers(token);
    await getUsers(`x.${payload}.${signature}`);
    const log = JSON.stringify(service.logs);

    for (const part of [...token.split('.').slice(1), payload, signature]) expect(log).not.toContain(part);
  });
});

describe('a token that is refused', () => {
  it.each<[string, () => string | Promise<string>]>([
    ['alg none', () => compose({ alg: 'none' }, () => '')],
    ['alg none with a kid', () => compose({ alg: 'none', kid: 'first' }, () => '')],
    ['alg None', () => compose({ alg: 'None' }, () => '')],
    ['alg nOnE', () => compose({ alg: 'nOnE' }, () => '')],
    ['no alg', () => compose({ kid: 'rsa' }, signRsa(rsa.privateKey))],
    ['alg as a list', () => compose({ alg: ['RS256'], kid: 'rsa' }, signRsa(rsa.privateKey))],
    ['HS256 by the public key as PEM', () => compose({ alg: 'HS256', kid: 'first' }, signHmac(publicPem()))],
    [
      'HS256 by the public key as JWK',
      () => compose({ alg: 'HS256', kid: 'first' }, signHmac(JSON.stringify(publicJwk()))),
    ],
    ['HS256 by the modulus', () => compose({ alg: 'HS256', kid: 'first' }, signHmac(String(publicJwk()['n'])))],
    ['HS256 by nothing', () => compose({ alg: 'HS256', kid: 'first' }, signHmac(''))],
    [
      'RS512, which is not listed',
      () => compose({ alg: 'RS512', kid: 'rsa' }, (input) => signBytes('sha512', Buffer.from(input), rsa.privateKey)),
    ],
    ['ES256 with the kid of an RSA key', () => compose({ alg: 'ES256', kid: 'rsa' }, signRsa(rsa.privateKey))],
    ['RS256 with the kid of an EC key', () => compose({ alg: 'RS256', kid: 'curve' }, signRsa(rsa.privateKey))],
    ['an RSA key of 1024 bits', () => compose({ alg: 'RS256', kid: 'weak' }, signRsa(weak.privateKey))],
    ['an unknown kid', withKid('unknown')],
    ['a path for a kid', withKid('../../../../dev/null')],
    ['SQL for a kid', withKid("' union select 'key' --")],
    ['a list for a kid', withKid(['rsa'])],
    ['a number for a kid', withKid(0)],
    ['null for a kid', withKid(null)],
    ['__proto__ for a kid', withKid('__proto__')],
    ['another’s key under the same kid', pointTo(() => ({}))],
    ['jku', pointTo(() => ({ jku: attacker.env.JWKS_URL }))],
    ['x5u', pointTo(() => ({ x5u: `${attacker.issuer}/x5u.pem` }))],
    ['jwk', pointTo(() => ({ jwk: attacker.jwks().keys[0] ?? {} }))],
    ['x5c', pointTo(() => ({ x5c: ['MIIB'] }))],
    [
      'all of them',
      pointTo(() => ({ jku: attacker.env.JWKS_URL, jwk: attacker.jwks().keys[0] ?? {}, kid: attacker.env.JWKS_URL })),
    ],
    [
      'a payload that was changed',
      async () => {
        const [header, , signature] = await split();
        return `${header}.${encode({ ...validClaims(), sub: 'root' })}.${signature}`;
      },
    ],
    [
      'a header that was changed',
      async () => {
        const [, payload, signature] = await split();
        return `${encode({ alg: 'RS256', kid: 'first', typ: 'JWT' })}.${payload}.${signature}`;
      },
    ],
    [
      'a signature that was changed',
      async () => {
        const [header, payload, signature] = await split();
        return `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
      },
    ],
    [
      'the signature of another token',
      async () => {
        const [header, payload] = await split();
        return `${header}.${payload}.${(await split({ ...CLAIMS, sub: 'other' }))[2]}`;
      },
    ],
    ['no signature', async () => `${(await split()).slice(0, 2).join('.')}.`],
    ['two parts', async () => (await split()).slice(0, 2).join('.')],
    ['four parts', async () => `${await issuer.sign(CLAIMS)}.${encode('more')}`],
    ['its parts twice', async () => `${await issuer.sign(CLAIMS)}.${await issuer.sign(CLAIMS)}`],
    ['dots before and after', async () => `.${await issuer.sign(CLAIMS)}.`],
    ['dots only', () => '..'],
    ['whitespace within', async () => (await split()).join('. ')],
    ['padding', async () => `${await issuer.sign(CLAIMS)}==`],
    ['9 kB of claims', withClaims(() => ({ more: 'x'.repeat(9_000) }))],
    ['a past exp', withClaims(() => ({ exp: now() - 1 }))],
    ['an exp of now', withClaims(() => ({ exp: now() }))],
    ['no exp', withClaims(() => ({ exp: undefined }))],
    ['an exp as text', withClaims(() => ({ exp: `${now() + 3_600}` }))],
    ['an exp of null', withClaims(() => ({ exp: null }))],
    ['a future nbf', withClaims(() => ({ nbf: now() + 60 }))],
    ['an nbf as text', withClaims(() => ({ nbf: '0' }))],
    ['the typ of a token for logging out', withHeader({ typ: 'logout+jwt' })],
    ['the typ of a proof', withHeader({ typ: 'dpop+jwt' })],
    ['the typ of an event', withHeader({ typ: 'application/secevent+jwt' })],
    ['an empty typ', withHeader({ typ: '' })],
    ['a list for a typ', () => compose({ alg: 'RS256', kid: 'rsa', typ: ['JWT'] }, signRsa(rsa.privateKey))],
    ['null for a typ', () => compose({ alg: 'RS256', kid: 'rsa', typ: null }, signRsa(rsa.privateKey))],
    ['no sub', withClaims(() => ({ sub: undefined }))],
    ['an empty sub', withClaims(() => ({ sub: '' }))],
    ['a sub of 121 characters', withClaims(() => ({ sub: 'a'.repeat(121) }))],
    ['a sub with a space', withClaims(() => ({ sub: 'a service' }))],
    ['a sub with a line break', withClaims(() => ({ sub: 'service\n' }))],
    ['a sub beyond ASCII', withClaims(() => ({ sub: 'dienst-ä' }))],
    ['a number for a sub', withClaims(() => ({ sub: 42 }))],
    ['another issuer', withClaims(() => ({ iss: attacker.issuer }))],
    ['an issuer with a slash more', withClaims(() => ({ iss: `${issuer.issuer}/` }))],
    ['a list with the issuer', withClaims(() => ({ iss: [issuer.issuer] }))],
    ['no issuer', withClaims(() => ({ iss: undefined }))],
    ['another audience', withClaims(() => ({ aud: 'other' }))],
    ['a list of other audiences', withClaims(() => ({ aud: ['other', 'notifications-2'] }))],
    ['an object for an audience', withClaims(() => ({ aud: { notifications: true } }))],
    ['no audience', withClaims(() => ({ aud: undefined }))],
    ['an unknown crit', () => compose({ alg: 'RS256', kid: 'rsa', crit: ['exp'], exp: 1 }, signRsa(rsa.privateKey))],
    ['an empty crit', () => compose({ alg: 'RS256', kid: 'rsa', crit: [] }, signRsa(rsa.privateKey))],
    [
      'b64 false',
      () => {
        const header = encode({ alg: 'RS256', kid: 'rsa', b64: false, crit: ['b64'] });
        const payload = 'payload';
        return `${header}.${payload}.${signRsa(rsa.privateKey)(`${header}.${payload}`).toString('base64url')}`;
      },
    ],
    [
      'a JWT within',
      async () => compose({ alg: 'RS256', kid: 'rsa', cty: 'JWT' }, signRsa(rsa.privateKey), await issuer.sign(CLAIMS)),
    ],
    ['claims that are a list', () => compose({ alg: 'RS256', kid: 'rsa' }, signRsa(rsa.privateKey), [validClaims()])],
    ['claims that are no JSON', () => compose({ alg: 'RS256', kid: 'rsa' }, signRsa(rsa.privateKey), '{"sub":')],
    ['a header that is no JSON', () => compose('{"alg":"RS256"', signRsa(rsa.privateKey))],
    ['a header of null', () => compose('null', signRsa(rsa.privateKey))],
    [
      'encryption instead of a signature',
      async () => {
        const encrypter = new CompactEncrypt(Buffer.from(JSON.stringify(validClaims())));
        return encrypter.setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: 'rsa' }).encrypt(rsa.publicKey);
      },
    ],
  ])('has %s', async (_fault, make) => {
    const token = await make();
    const reply = await getUsers(token);

    expect(reply).toMatchObject({ status: 401, body: { code: 'credentials_invalid' } });
    expect(reply.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect(attacker.requests()).toBe(0);
  });

  it('does not make the service fetch keys more than once in a while', async () => {
    const before = issuer.requests();
    for (let n = 0; n < 30; n++) await getUsers(compose({ alg: 'RS256', kid: `kid-${n}` }, signRsa(rsa.privateKey)));

    expect(issuer.requests() - before).toBeLessThanOrEqual(1);
  });
});

describe('a verified token', () => {
  it('is refused from its exp on, though it was accepted a moment before', async () => {
    const exp = now() + 2;
    const token = await issuer.sign({ ...CLAIMS, exp });
    const before = await getUsers(token);
    let acceptedAt = 0;
    await eventually(async () => {
      const askedAt = Date.now();
      const { status } = await getUsers(token);
      if (status === 200) acceptedAt = askedAt;
      expect(status).toBe(401);
    });

    expect(before.status).toBe(200);
    expect(acceptedAt).toBeLessThan(exp * 1_000);
    expect(Date.now()).toBeLessThan(exp * 1_000 + 1_000);
  });

  describe('as time passes', () => {
    beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'performance'] }));
    afterEach(() => void vi.useRealTimers());

    it('is verified again after 60 s, and not before', async () => {
      const own = await startOwnIssuer();
      const { verify } = createVerifier(own);
      const [first, second] = [
        await own.sign({ exp: now() + 7_200 }),
        await own.sign({ exp: now() + 7_200, jti: '2' }),
      ];
      await verify(second);
      vi.advanceTimersByTime(299_000);
      await verify(first);
      own.answer((response) => response.destroy());
      vi.advanceTimersByTime(59_999);

      expect(await verify(first)).toMatchObject({ id: 'jwt:service' });
      await expect(verify(second)).rejects.toMatchObject({ code: 'credentials_unverifiable' });
      vi.advanceTimersByTime(1);
      await expect(verify(first)).rejects.toMatchObject({ code: 'credentials_unverifiable' });
    });

    it('goes by a new key of the issuer after 30 s, and by a withdrawn one for 5 minutes at most', async () => {
      const own = await startOwnIssuer();
      const { verify } = createVerifier(own);
      const old = await own.sign({ exp: now() + 7_200 });
      await verify(old);
      await own.addKey('second');
      own.removeKey('first');
      const next = await own.sign({ exp: now() + 7_200 }, { kid: 'second' });

      await expect(verify(next)).rejects.toMatchObject({ code: 'credentials_invalid' });
      expect(own.requests()).toBe(1);
      vi.advanceTimersByTime(30_001);
      expect(await verify(next)).toMatchObject({ id: 'jwt:service' });
      expect(own.requests()).toBe(2);
      await expect(verify(await own.sign({ jti: 'other' }))).rejects.toMatchObject({ code: 'credentials_invalid' });
    });

    it('goes by a withdrawn key no longer than the key set is kept', async () => {
      const own = await startOwnIssuer();
      const { verify } = createVerifier(own);
      await verify(await own.sign({ exp: now() + 7_200 }));
      own.removeKey('first');
      vi.advanceTimersByTime(299_999);
      const before = await verify(await own.sign({ jti: 'before' }));
      vi.advanceTimersByTime(1);

      expect(before).toMatchObject({ id: 'jwt:service' });
      await expect(verify(await own.sign({ jti: 'after' }))).rejects.toMatchObject({ code: 'credentials_invalid' });
    });
  });
});

describe('an issuer that is away', () => {
  it('makes its tokens a 503 and not a 401, while API keys go on, and is found again', async () => {
    const own = await startOwnIssuer();
    own.answer((response) => response.destroy());
    const guarded = await startTestService({ ...own.env, AUTH: 'on' });
    onTestFinished(() => guarded.stop());
    const token = await own.sign(CLAIMS);
    const away = await getUsers(token, guarded);
    const missing = await call(guarded, 'GET', '/users');
    for (let n = 0; n < 20; n++) await getUsers(await own.sign({ ...CLAIMS, jti: `${n}` }), guarded);
    const asked = own.requests();
    own.answer(null);

    expect(away).toMatchObject({ status: 503, body: { code: 'credentials_unverifiable' } });
    expect(away.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
    expect(missing.status).toBe(401);
    expect(asked).toBeLessThanOrEqual(3);
    expect(guarded.logs.find(({ msg }) => msg === 'keys of the issuer unavailable')).toMatchObject({ level: 40 });
    await eventually(async () => expect((await getUsers(token, guarded)).status).toBe(200));
  });

  it('is warned of once for each fetch that failed, however many ask', async () => {
    const own = await startOwnIssuer();
    own.answer((response) => response.destroy());
    const { verify, lines } = createVerifier(own);
    const tokens = await Promise.all(Array.from({ length: 40 }, (_, n) => own.sign({ jti: `${n}` })));
    const outcomes = await Promise.allSettled(tokens.slice(0, 20).map(verify));
    for (const token of tokens.slice(20)) outcomes.push(...(await Promise.allSettled([verify(token)])));

    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(40);
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual(
      Array.from({ length: own.requests() }, () => [40, 'keys of the issuer unavailable']),
    );
    expect(own.requests()).toBeGreaterThan(0);
  });

  it('does not concern API keys, nor tokens that were verified', async () => {
    const own = await startOwnIssuer();
    const guarded = await startGuardedService(own.env);
    onTestFinished(() => guarded.stop());
    const token = await own.sign(CLAIMS);
    const before = await getUsers(token, guarded);
    own.answer((response) => response.destroy());

    expect(before.status).toBe(200);
    expect(await getUsers(token, guarded)).toMatchObject({ status: 200 });
    expect(await getUsers(await own.sign({ ...CLAIMS, jti: 'new' }), guarded)).toMatchObject({ status: 200 });
    expect(await getUsers(guarded.key, guarded)).toMatchObject({ status: 200 });
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ['answers nothing for 3 s', () => undefined],
    ['stops in the middle', (response) => void response.writeHead(200, { 'content-length': '100' }).write('{"keys":')],
    ['answers 500', (response) => void response.writeHead(500).end('{"keys":[]}')],
    ['answers 404', (response) => void response.writeHead(404).end()],
    ['sends elsewhere', (response) => void response.writeHead(302, { location: `${attacker.issuer}/jwks.json` }).end()],
    ['answers no JSON', (response) => void response.end('<html>')],
    ['answers no key set', (response) => void response.end('{"keys":{}}')],
    ['answers null', (response) => void response.end('null')],
  ])('is one that %s', async (_fault, respond) => {
    const own = await startOwnIssuer();
    own.answer(respond);
    const start = Date.now();

    await expect(createVerifier(own).verify(await own.sign())).rejects.toMatchObject({
      code: 'credentials_unverifiable',
    });
    expect(Date.now() - start).toBeLessThan(5_000);
    expect(attacker.requests()).toBe(0);
  });
});

/** An issuer that ends with the test. */
async function startOwnIssuer(): Promise<Issuer> {
  const own = await startIssuer();
  onTestFinished(() => own.stop());
  return own;
}

function createVerifier(own: Issuer) {
  const { JWT_ISSUER, JWT_AUDIENCE, JWKS_URL } = own.env;
  const verify = createJwtVerifier({ issuer: JWT_ISSUER, audience: JWT_AUDIENCE, jwksUrl: JWKS_URL });
  const { log, lines } = createLog();
  return { lines, verify: (token: string) => verify(token, log) };
}
