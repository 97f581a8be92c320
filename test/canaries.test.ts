import type { Client } from 'pg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hashSecret } from '../src/auth/key-text.ts';
import { SCOPE_NAMES } from '../src/auth/principal.ts';
import { type Issuer, startIssuer } from './support/auth.ts';
import { openAviary } from './support/canaries.ts';
import {
  breakHttp,
  type Call,
  type Document,
  FAULTS,
  fillBody,
  fillHeaders,
  fillPath,
  listOperations,
  type Operation,
  type Subject,
} from './support/canary-calls.ts';
import {
  aviary,
  expectSilence,
  findUrl,
  openDatabase,
  runProgram,
  type Server,
  send,
  sendRaw,
  startServer,
  stopAndSearch,
} from './support/canary-watch.ts';
import { range } from './support/dispatch.ts';
import { call, type Reply } from './support/service.ts';
import { startSink } from './support/sink.ts';

/** Of each kind, at least. */
const CANARIES_MIN = 1_000;
/** Times that every route is called right, and in every wrong way. */
const ROUNDS = 14;
/** Callers at a time. */
const LANES = 8;
/** Times that broken HTTP is sent. */
const RAW_ROUNDS = 10;
/** Every call brings another key or token, so that nobody reaches it but the one who is meant to. */
const RATE_LIMIT = 200;
/** With each call that is right otherwise. */
const WRONG_CREDENTIALS = 10;
/** Callers who are known and may do nothing. */
const POWERLESS_KEYS = 50;
const NO_NOTIFICATION = '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';
/** Beyond what one SNS message can carry. */
const PAYLOAD_TOO_LARGE = 300_000;
/** Beyond any body. */
const BODY_TOO_LARGE = 2_200_000;
const AUTHORIZATION = 'authorization';
/** Some seconds of work for a core, on a machine that may be busy. */
const ROUTES_TIMEOUT_MS = 120_000;

const { mint } = aviary;

describe('addresses, texts and secrets', () => {
  it('are found wherever they are, in any form', async () => {
    const other = openAviary();
    const [email, phone, key] = [other.mint('email'), other.mint('phone'), other.mint('api_key')];
    const token = other.adopt('jwt', 'eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJlLW9mLWEtdG9rZW4');
    const everyCharacter = (text: string, write: (code: number) => string) =>
      Array.from(text, (character) => write(character.charCodeAt(0))).join('');
    const leaks = [
      ...[email, phone, key, email.toUpperCase(), `Bearer ${token}`, `sig=${token.split('.')[2]}`],
      ...[encodeURIComponent(email), everyCharacter(email, (code) => `%${code.toString(16)}`)],
      everyCharacter(email, (code) => `\\u${code.toString(16).padStart(4, '0')}`),
      JSON.stringify(JSON.stringify({ email })),
      ...['', 'a', 'ab'].map((before) => Buffer.from(before + email).toString('base64')),
      ...['', 'a', 'ab'].map((before) => Buffer.from(`${before}${phone}`).toString('base64url')),
      Buffer.from(key).toString('hex'),
      email.slice(0, 12),
    ];
    const program = await runProgram('-e', ['console.log(process.argv[1]); console.error(process.argv[1])', email]);

    for (const leak of leaks)
      expect({ leak, found: other.find(`before ${leak} after`).length > 0 }).toEqual({ leak, found: true });
    expect([other.find(program.stdout).length, other.find(program.stderr).length]).toEqual([1, 1]);
    expect(other.find('user1@example.com +15550000042 nk_0123456789abcdef')).toEqual([]);
  });

  it(
    'are in no log, error, metric or audit entry, whatever is sent to any route',
    async () => {
      const { url, admin } = await openDatabase();
      const issuer = await startIssuer();
      onTestFinished(() => issuer.stop());
      const credentials = await makeCredentials(admin, issuer);
      const server = await startServer({
        ...{ DATABASE_URL: url, AWS_ENDPOINT_URL: await findUrl(await startSink()), AUTH: 'on', ...issuer.env },
        ...{ RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_PRINCIPAL: String(RATE_LIMIT), TRUST_PROXY: '127.0.0.1' },
      });
      const operations = listOperations((await call(server, 'GET', '/openapi.json')).body as Document);
      const seen = new Map<string, number[]>(operations.map(({ name }) => [name, []]));
      const exercise = async ({ name }: Operation, sent: Call) => {
        const reply = await send(server, sent);
        seen.get(name)?.push(reply.status);
        return reply;
      };

      const slow = sendRaw(server, `GET /users HTTP/1.1\r\nHost: localhost\r\nX-Email: ${mint('email')}`, false);
      const lanes = Array.from({ length: LANES }, async (_lane, lane) => {
        for (let round = lane; round < ROUNDS; round += LANES) {
          await runRound({ operations, exercise, credentials, userId: round + 1 });
        }
      });
      await Promise.all(lanes);
      await sendBrokenHttp(server);
      await sendLargest(server, credentials);
      await floodRoutes({ operations, exercise, credentials });
      expect(await slow).toContain('HTTP/1.1 408');
      await searchPages(server, admin, credentials);
      await stopAndSearch('the service', server);

      for (const [route, statuses] of seen) {
        const about = {
          route,
          calls: statuses.length,
          seen: [...new Set(statuses)].toSorted((one, other) => one - other).join(),
        };
        expect(about).toMatchObject({ seen: expect.stringMatching(/\b2\d\d\b.*\b4\d\d\b/) });
      }
      const statuses = new Set([...seen.values()].flat());
      expect([...statuses]).toEqual(
        expect.arrayContaining([200, 201, 202, 204, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429]),
      );
      // A process takes two imports at a time, and there are more lanes.
      const failed = [...seen].flatMap(([route, all]) =>
        all.filter((status) => status >= 500 && !(status === 503 && route.endsWith('/import'))),
      );
      expect(failed).toEqual([]);
      const few = Object.entries(aviary.sent()).filter(([kind, count]) => kind !== 'password' && count < CANARIES_MIN);
      expect(few).toEqual([]);
    },
    ROUTES_TIMEOUT_MS,
  );
});

type Credentials = Record<'right' | 'wrong' | 'powerless', () => string> & { flood: string };

/** Values of the `Authorization` header: another one with every call. */
async function makeCredentials(admin: Client, issuer: Issuer): Promise<Credentials> {
  const serials = range(1, CANARIES_MIN);
  const keys = serials.map(() => mint('api_key'));
  const powerless = serials.slice(0, POWERLESS_KEYS).map(() => mint('api_key'));
  await storeKeys(admin, keys, [...SCOPE_NAMES]);
  await storeKeys(admin, powerless, []);
  const flood = mint('api_key');
  await storeKeys(admin, [flood], [...SCOPE_NAMES]);
  const tokens = await Promise.all(serials.map((n) => signToken(issuer, n)));
  const wrong = await Promise.all(serials.map((n) => signWrongly(issuer, n)));
  const wrongKeys = serials.map(() => mint('wrong_api_key'));
  return {
    right: cycle(keys.flatMap((key, n) => [`Bearer ${key}`, `Bearer ${tokens[n]}`])),
    wrong: cycle([
      ...[...wrongKeys, ...wrong].map((token) => `Bearer ${token}`),
      ...keys.map((key) => `Bearer ${key.slice(0, -1)}y`),
      ...wrongKeys.flatMap((key) => [`Basic ${key}`, `Bearer ${key} ${mint('email')}`, `Bearer ${key.slice(3)}`, key]),
    ]),
    powerless: cycle(powerless.map((key) => `Bearer ${key}`)),
    flood: `Bearer ${flood}`,
  };
}

async function storeKeys(admin: Client, keys: string[], scopes: string[]): Promise<void> {
  await admin.query(
    'insert into api_keys (id, name, scopes, secret_hash) select id, id, $1::text[], hash from unnest($2::text[], $3::bytea[]) as t (id, hash)',
    [scopes, keys.map((key) => key.split('_')[1]), keys.map((key) => hashSecret(key.split('_')[2] ?? ''))],
  );
}

async function signToken(issuer: Issuer, n: number): Promise<string> {
  const claims = { ...aviary.mintClaims(), sub: `caller-${n}`, scope: SCOPE_NAMES.join(' ') };
  return aviary.adopt('jwt', await issuer.sign(claims));
}

/** Expired, for somebody else, of somebody else, from the future, without a name, unsigned, altered. */
async function signWrongly(issuer: Issuer, n: number): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const faults = [
    { exp: now - 60 },
    { aud: mint('value') },
    { iss: mint('value') },
    { nbf: now + 3_600 },
    { sub: undefined },
  ];
  const claims = { ...aviary.mintClaims(), sub: mint('value'), ...faults[n % (faults.length + 2)] };
  const header = n % 3 === 0 ? { kid: mint('value') } : {};
  const [head = '', body = '', signature = ''] = (await issuer.sign(claims, { header })).split('.');
  const spoiled = n % (faults.length + 2) < faults.length ? signature : signature.toLowerCase();
  return aviary.adopt('wrong_jwt', `${head}.${body}.${spoiled}`);
}

function cycle(values: string[]): () => string {
  let index = 0;
  return () => values[index++ % values.length] ?? '';
}

type Round = {
  operations: Operation[];
  exercise: (operation: Operation, sent: Call) => Promise<Reply>;
  credentials: Credentials;
};

/** Calls every route wrong in every way, and then right, for a user of its own. */
async function runRound({ operations, exercise, credentials, userId }: Round & { userId: number }): Promise<void> {
  const subject: Subject = { userId, notificationId: NO_NOTIFICATION };
  const composeCall = (operation: Operation, changes: Partial<Call>): Call => ({
    ...{ method: operation.method, path: fillPath(operation, subject) },
    ...(operation.fields !== null && { body: JSON.stringify(fillBody(operation, subject, aviary)) }),
    ...changes,
    headers: {
      ...{ ...fillHeaders(aviary), 'content-type': operation.mediaType },
      ...(changes.headers?.[AUTHORIZATION] === undefined && { [AUTHORIZATION]: credentials.right() }),
      ...changes.headers,
    },
  });
  for (const operation of operations) {
    const unnamed = composeCall(operation, { headers: { [AUTHORIZATION]: '' } });
    const { [AUTHORIZATION]: _none, ...headers } = unnamed.headers;
    await exercise(operation, { ...unnamed, headers });
    for (const authorization of [...range(1, WRONG_CREDENTIALS).map(credentials.wrong), credentials.powerless()]) {
      await exercise(operation, composeCall(operation, { headers: { authorization } }));
    }
    for (const compose of Object.values(FAULTS)) {
      const changes = compose(operation, subject, aviary);
      if (changes.body !== undefined && operation.method === 'GET' && changes.method === undefined) continue;
      await exercise(operation, composeCall(operation, changes));
    }
    const right = composeCall(operation, {});
    const { status, body } = await exercise(operation, right);
    if (status !== 202) continue;
    subject.notificationId = (body as { id: string }).id;
    await exercise(operation, { ...right, body: JSON.stringify(fillBody(operation, subject, aviary)) });
  }
}

/** One caller calls every route more often than it may. */
async function floodRoutes({ operations, exercise, credentials }: Round): Promise<void> {
  const guarded = operations.filter(({ isPublic }) => !isPublic);
  for (let times = 0; times < RATE_LIMIT + guarded.length; times++) {
    const operation = guarded[times % guarded.length];
    if (operation === undefined) throw new Error('Every route is public.');
    const path = fillPath(operation, { userId: ROUNDS + 1, notificationId: NO_NOTIFICATION });
    const headers = { ...fillHeaders(aviary), authorization: credentials.flood };
    await exercise(operation, { method: operation.method, path, headers });
  }
}

/** A payload beyond what SNS takes, and a body beyond what is read. */
async function sendLargest(server: Server, { right }: Credentials): Promise<void> {
  for (const size of [PAYLOAD_TOO_LARGE, BODY_TOO_LARGE]) {
    const headers = { ...fillHeaders(aviary), 'content-type': 'application/json', authorization: right() };
    const body = JSON.stringify({ payload: mint('payload').padEnd(size, mint('payload')), user_ids: [1] });
    expect((await send(server, { method: 'POST', path: '/notifications', headers, body })).status).toBe(413);
  }
}

async function sendBrokenHttp(server: Server): Promise<void> {
  for (let times = 0; times < RAW_ROUNDS; times++) {
    const answers = await Promise.all(breakHttp(aviary).map((text) => sendRaw(server, text)));
    for (const answer of answers) expectSilence('an answer to broken HTTP', answer);
  }
}

/** What the service tells everybody who may ask, and what it keeps of each change. */
async function searchPages(server: Server, admin: Client, { right }: Credentials): Promise<void> {
  for (const path of ['/metrics', '/health/live', '/health/ready', '/openapi.json', '/docs', '/redoc']) {
    const { status, text } = await call(server, 'GET', path, undefined, { authorization: right() });
    expect({ path, status }).toEqual({ path, status: 200 });
    expectSilence(path, text);
  }
  let entries = 0;
  for (let next: string | undefined = '/audit?limit=1000'; next !== undefined; ) {
    const { text, body, headers }: Reply = await call(server, 'GET', next, undefined, { authorization: right() });
    expectSilence('/audit', text);
    entries += (body as unknown[]).length;
    next = /^<(\/.+)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1];
  }
  const { rows } = await admin.query('select a::text as entry from audit_log a');
  expectSilence('audit_log', rows.map(({ entry }) => entry).join('\n'));
  expect(entries).toBe(rows.length);
  expect(entries).toBeGreaterThan(ROUNDS);
}
