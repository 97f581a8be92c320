import { performance } from 'node:perf_hooks';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AppDeps } from '../src/app.ts';
import { PATIENCE } from '../src/http/limits.ts';
import { startTestApp, type TestApp } from './support/app.ts';
import { waitFor } from './support/process.ts';
import { drip, sendRaw } from './support/raw.ts';
import { call, type Reply, startTestService } from './support/service.ts';

async function openApp(overrides: Partial<AppDeps> = {}): Promise<TestApp> {
  const app = await startTestApp(overrides);
  onTestFinished(app.stop);
  return app;
}

const perAddress = (max: number): Partial<AppDeps> => ({ rateLimits: { perAddress: max, perPrincipal: 0 } });
const perPrincipal = (max: number): Partial<AppDeps> => ({ rateLimits: { perAddress: 0, perPrincipal: max } });

const limitOf = ({ headers }: Reply) =>
  ['limit', 'remaining', 'reset'].map((name) => Number(headers.get(`ratelimit-${name}`) ?? Number.NaN));

const get = (service: { url: string }, path: string, headers: Record<string, string> = {}) =>
  call(service, 'GET', path, undefined, headers);

describe('the limit per address', () => {
  it('answers 429 to one request too many, and counts down to it', async () => {
    const app = await openApp(perAddress(3));

    const replies: Reply[] = [];
    for (let n = 0; n < 4; n++) replies.push(await get(app, '/openapi.json'));

    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(replies.map((reply) => limitOf(reply).slice(0, 2))).toEqual([
      ...[
        [3, 2],
        [3, 1],
        [3, 0],
        [3, 0],
      ],
    ]);
    const [, , , refused] = replies;
    expect(refused?.body).toMatchObject({ code: 'too_many_requests', status: 429 });
    const seconds = Number(refused?.headers.get('retry-after'));
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(60);
    expect(refused?.headers.get('ratelimit-reset')).toBe(String(seconds));
  });

  it('holds for whatever is asked, before anybody asks who calls, but never for health checks', async () => {
    let asked = 0;
    const app = await openApp({
      ...perAddress(2),
      authenticate: async () => {
        asked += 1;
        throw new Error('nobody may ask');
      },
    });
    await get(app, '/nothing');
    await call(app, 'POST', '/users/7');

    const refused = [await get(app, '/users'), await get(app, '/nothing'), await call(app, 'PATCH', '/users')];
    const probes = [await get(app, '/health/live'), await get(app, '/health/ready')];

    expect(refused.map(({ status }) => status)).toEqual([429, 429, 429]);
    expect(asked).toBe(0);
    expect(probes.map(({ status }) => status)).toEqual([200, 200]);
    expect(probes[0]?.headers.has('ratelimit-limit')).toBe(false);
  });

  it('cannot be dodged by saying where one calls from', async () => {
    const app = await openApp(perAddress(1));

    const replies = [
      await get(app, '/openapi.json', { 'x-forwarded-for': '192.0.2.1' }),
      await get(app, '/openapi.json', { 'x-forwarded-for': '192.0.2.2', forwarded: 'for=192.0.2.3' }),
    ];

    expect(replies.map(({ status }) => status)).toEqual([200, 429]);
  });

  it('counts the address that a trusted proxy forwards, the last that it has not made up itself', async () => {
    const app = await openApp({ ...perAddress(1), trustProxy: ['127.0.0.1'] });
    const from = async (address: string) => (await get(app, '/openapi.json', { 'x-forwarded-for': address })).status;

    expect([await from('192.0.2.1'), await from('192.0.2.2')]).toEqual([200, 200]);
    expect([await from('192.0.2.1'), await from('198.51.100.9, 192.0.2.2')]).toEqual([429, 429]);
  });

  it('takes an IPv6 network of one customer for one address', async () => {
    const app = await openApp({ ...perAddress(1), trustProxy: ['127.0.0.1'] });
    const from = async (address: string) => (await get(app, '/openapi.json', { 'x-forwarded-for': address })).status;

    expect(await from('2001:db8:1:2::1')).toBe(200);
    expect(await from('2001:db8:1:2:ffff::9')).toBe(429);
    expect(await from('2001:db8:1:3::1')).toBe(200);
  });
});

describe('the limit per principal', () => {
  it('is each one’s own, wherever they call from', async () => {
    const app = await openApp(perPrincipal(2));

    const mine: Reply[] = [];
    for (let n = 0; n < 3; n++) mine.push(await get(app, '/users', { authorization: 'me' }));
    const theirs = await get(app, '/users', { authorization: 'them' });

    expect(mine.map(({ status }) => status)).toEqual([200, 200, 429]);
    expect(mine[2]?.body).toMatchObject({ code: 'too_many_requests' });
    expect(Number(mine[2]?.headers.get('retry-after'))).toBeGreaterThan(0);
    expect([theirs.status, ...limitOf(theirs).slice(0, 2)]).toEqual([200, 2, 1]);
  });

  it('leaves out what is for everyone', async () => {
    const app = await openApp(perPrincipal(1));

    const replies = [await get(app, '/openapi.json'), await get(app, '/openapi.json')];

    expect(replies.map(({ status }) => status)).toEqual([200, 200]);
  });

  it('is shown unless the limit per address is nearer', async () => {
    const wide = await openApp({ rateLimits: { perAddress: 100, perPrincipal: 10 } });
    const narrow = await openApp({ rateLimits: { perAddress: 10, perPrincipal: 100 } });

    expect(limitOf(await get(wide, '/users')).slice(0, 2)).toEqual([10, 9]);
    expect(limitOf(await get(narrow, '/users')).slice(0, 2)).toEqual([10, 9]);
  });
});

describe('the environment', () => {
  it('sets limits and proxies; 0 is no limit', async () => {
    const limited = await startTestService({ RATE_LIMIT_PER_ADDRESS: '1', TRUST_PROXY: '127.0.0.0/8' });
    onTestFinished(() => limited.stop());
    const free = await startTestService({ RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_PRINCIPAL: '0' });
    onTestFinished(() => free.stop());

    const from = async (address: string) => (await get(limited, '/users', { 'x-forwarded-for': address })).status;
    expect([await from('192.0.2.1'), await from('192.0.2.2'), await from('192.0.2.1')]).toEqual([200, 200, 429]);
    expect(limitOf(await get(free, '/users'))).toEqual([Number.NaN, Number.NaN, Number.NaN]);
  });
});

describe('a process that cannot keep up', () => {
  it('answers 503 with Retry-After but for health checks, until it can again', { timeout: 60_000 }, async () => {
    const app = await openApp();
    const ask = () => Promise.all([get(app, '/users'), get(app, '/health/live'), get(app, '/nothing')]);

    let [refused, alive, unknown] = await ask();
    const before = refused.status;
    for (let blocks = 0; refused.status === 200 && blocks < 10; blocks++) {
      const answers = ask();
      block(1_200);
      [refused, alive, unknown] = await answers;
    }

    expect(before).toBe(200);
    expect(refused).toMatchObject({ status: 503, body: { code: 'overloaded' } });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(alive).toMatchObject({ status: 200, body: { status: 'ok' } });
    expect(unknown.status).toBe(503);
    await waitFor('the end of the overload', async () => (await get(app, '/users')).status === 200);
  });
});

/** What no server should do: nothing else runs meanwhile. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe('a connection', () => {
  const head = 'PUT /users/7 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n';

  it('that drips headers or a body is told so and cut, though it goes on', async () => {
    const app = await openApp();
    // The body has 30 s. What becomes of it does not depend on how many.
    const hasty = await openApp({ patience: { ...PATIENCE, arrivalMs: 2_000 } });

    const dripped = await Promise.all([
      drip(app.url, 'GET /users HTTP/1.1\r\nHost: x\r\nX-Slow: ', 200),
      drip(app.url, 'GET /us', 200),
      drip(hasty.url, `${head}\r\n`, 200),
    ]);

    for (const { status, headers, problem } of dripped) {
      expect(status).toBe(408);
      expect(headers).toMatch(/^connection: close$/im);
      expect(problem).toMatchObject({ code: 'request_timeout' });
    }
    expect(dripped.map(({ ms }) => Math.round(ms / 1_000) <= 14)).toEqual([true, true, true]);
    expect(PATIENCE).toEqual({ arrivalMs: 30_000, silenceMs: 30_000, answerMs: 4_500 });
    expect(app.app.server.requestTimeout).toBe(3_600_000);
    expect((await get(app, '/health/live')).status).toBe(200);
    expect([...app.lines, ...hasty.lines].filter(({ level }) => level >= 50)).toEqual([]);
  });

  const preflight = 'Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n';
  it.each([
    ['has no Host', 'PUT /users/7 HTTP/1.1\r\n', 400],
    ['has two credentials', 'PUT /users/7 HTTP/1.1\r\nHost: x\r\nAuthorization: b\r\nAuthorization: c\r\n', 400],
    ['expects what nobody knows', 'PUT /users/7 HTTP/1.1\r\nHost: x\r\nExpect: foo\r\n', 400],
    ['has a path that cannot be read', 'POST /users/%zz HTTP/1.1\r\nHost: x\r\n', 400],
    ['has an id of 300 digits', `PUT /users/${'1'.repeat(300)} HTTP/1.1\r\nHost: x\r\n`, 400],
    ['is a preflight', `OPTIONS /users/7 HTTP/1.1\r\nHost: x\r\n${preflight}`, 204],
    ['leads nowhere', 'POST /nothing HTTP/1.1\r\nHost: x\r\n', 404],
  ])('that drips the body of a request that %s is cut after the answer', async (_, start, status) => {
    const app = await openApp({ corsOrigins: ['https://a.example'], patience: { ...PATIENCE, arrivalMs: 500 } });

    const dripped = await drip(app.url, `${start}Content-Length: 900\r\n\r\n`, 50);

    expect(dripped.status).toBe(status);
    expect(dripped.ms).toBeGreaterThanOrEqual(490);
    expect(dripped.ms).toBeLessThan(5_000);
    expect(app.lines.filter(({ level }) => level >= 50)).toEqual([]);
  });
});

describe('a request', () => {
  it.each([
    ['no Host', 'GET /users HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'malformed_request'],
    [
      'two credentials',
      'GET /users HTTP/1.1\r\nHost: a\r\nAuthorization: b\r\nauthorization: c\r\nConnection: close\r\n\r\n',
      400,
      'malformed_request',
    ],
    ['two Hosts', 'GET /users HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n', 400, 'malformed_request'],
    [
      'an expectation nobody knows',
      'GET /users HTTP/1.1\r\nHost: x\r\nExpect: gold\r\nConnection: close\r\n\r\n',
      ...([400, 'malformed_request'] as const),
    ],
    [
      'more than 100 headers',
      `GET /users HTTP/1.1\r\nHost: x\r\n${'X-A: b\r\n'.repeat(200)}Connection: close\r\n\r\n`,
      ...([431, 'headers_too_large'] as const),
    ],
  ])('with %s gets a problem', async (_, bytes, status, code) => {
    const app = await openApp();

    const reply = await sendRaw(app.url, bytes);

    expect(reply.status).toBe(status);
    expect(reply.headers).toMatch(/^content-type: application\/problem\+json(;|$)/im);
    expect(reply.problem).toMatchObject({ status, code });
  });

  it('of HTTP/1.0 needs no Host', async () => {
    const app = await openApp();

    expect((await sendRaw(app.url, 'GET /health/live HTTP/1.0\r\n\r\n')).status).toBe(200);
  });

  it.each([
    ['POST', '/preferences'],
    ['PUT', '/preferences/7'],
    ['PATCH', '/preferences/7'],
    ['PUT', '/users/7'],
  ])('%s %s has a body of 16 KiB at most', async (method, path) => {
    const app = await openApp();
    const bodyOf = (bytes: number) => `{"email":${'9'.repeat(bytes - 10)}}`;

    expect((await call(app, method, path, bodyOf(16 * 1024))).status).toBe(400);
    expect(await call(app, method, path, bodyOf(16 * 1024 + 1))).toMatchObject({
      ...{ status: 413, body: { code: 'body_too_large' } },
    });
  });

  it('may nest 16 levels, brackets and braces in texts left out', async () => {
    const app = await openApp();
    const nested = (levels: number) =>
      `{"email":${'['.repeat(levels - 1)}"\\"[{[{${'['.repeat(99)}"${']'.repeat(levels - 1)}}`;

    expect((await call(app, 'PUT', '/users/7', nested(16))).body).toMatchObject({ code: 'validation_failed' });
    expect((await call(app, 'PUT', '/users/7', nested(17))).body).toMatchObject({ code: 'malformed_request' });
  });
});
