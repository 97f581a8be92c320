import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startTestApp, type TestApp } from './support/app.ts';
import { sendRaw } from './support/raw.ts';
import { call, startTestService } from './support/service.ts';

let app: TestApp;

beforeAll(async () => {
  app = await startTestApp();
});

afterAll(() => app.stop());

const API_POLICY = "default-src 'none';frame-ancestors 'none'";
const NOTIFICATION = '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';

describe('every reply', () => {
  it.each([
    ['of a route', 'GET', '/users', 200],
    ['without a body', 'HEAD', '/health/live', 200],
    ['about nothing', 'GET', '/nothing', 404],
    ['about nobody', 'GET', '/users/1', 404],
    ['about a notification', 'GET', NOTIFICATION, 404],
    ['to a wrong method', 'DELETE', '/users', 405],
    ['to a wrong path', 'GET', '/users/x', 400],
    ['to a path that cannot be read', 'GET', '/users/%zz', 400],
    ['to a path beyond any length', 'GET', `/users/${'9'.repeat(500)}`, 400],
    ['to a body that cannot be read', 'PUT', '/users/1', 400],
    ['with the document', 'GET', '/openapi.json', 200],
    ['with the metrics', 'GET', '/metrics', 200],
  ])('%s may be kept and shown nowhere', async (_, method, path, status) => {
    const { headers, status: answered } = await call(app, method, path, method === 'PUT' ? '{' : undefined);

    expect(answered).toBe(status);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('content-security-policy')).toBe(API_POLICY);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
    expect([...headers.keys()].join()).not.toMatch(/\bserver\b|x-powered-by|strict-transport|access-control/);
  });

  it('to what is no request says the same', async () => {
    const { headers } = await sendRaw(app.url, 'garbage\r\n\r\n');

    expect(headers).toMatch(/^cache-control: no-store$/im);
    expect(headers).toMatch(/^x-content-type-options: nosniff$/im);
    expect(headers).toContain(API_POLICY);
  });
});

describe('the pages', () => {
  it.each(['/docs', '/docs/static/swagger-ui-bundle.js', '/redoc', '/redoc/redoc.js'])(
    '%s load nothing from elsewhere, and go into no frame',
    async (path) => {
      const { status, headers } = await call(app, 'GET', path);

      const policy = headers.get('content-security-policy') ?? '';
      expect(status).toBe(200);
      expect(policy).toMatch(/^default-src 'none';frame-ancestors 'none';/);
      expect(policy).not.toMatch(/https?:|\*|unsafe-eval|upgrade-insecure-requests/);
      expect(/script-src [^;]*/.exec(policy)?.[0]).toBe("script-src 'self'");
      expect(headers.get('x-content-type-options')).toBe('nosniff');
    },
  );

  it('have scripts that may be kept', async () => {
    for (const path of ['/docs/static/swagger-ui-bundle.js', '/redoc/redoc.js']) {
      expect((await call(app, 'GET', path)).headers.get('cache-control')).toMatch(/^public/);
    }
  });
});

describe('pages of other origins', () => {
  const ORIGIN = 'https://app.example.com';
  const preflight = (service: { url: string }, path: string, origin = ORIGIN) =>
    call(service, 'OPTIONS', path, undefined, {
      ...{ origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'content-type' },
    });

  it('may not call', async () => {
    const replies = [await preflight(app, '/users/7'), await preflight(app, '/nothing')];

    expect(replies.map(({ status }) => status)).toEqual([405, 404]);
    for (const { headers } of replies) expect([...headers.keys()].join()).not.toMatch(/access-control/);
  });

  it('may call where they are listed, whoever has to say who calls', async () => {
    const open = await startTestApp({
      corsOrigins: [ORIGIN, 'http://localhost:3000'],
      authenticate: async () => {
        throw new Error('a browser sends no credentials ahead');
      },
    });
    onTestFinished(open.stop);

    for (const path of ['/users/7', '/nothing']) {
      const { status, headers } = await preflight(open, path);

      expect(status).toBe(204);
      expect(headers.get('access-control-allow-origin')).toBe(ORIGIN);
      expect(headers.get('access-control-allow-methods')).toBe('GET, POST, PUT, PATCH, DELETE');
      expect(headers.get('access-control-allow-headers')).toMatch(/authorization, content-type, idempotency-key/);
      expect(headers.has('access-control-allow-credentials')).toBe(false);
      expect(headers.get('vary')).toMatch(/Origin/);
      expect(headers.get('x-request-id')).not.toBeNull();
    }
    expect((await preflight(open, '/users/7', 'https://evil.example')).headers.has('access-control-allow-origin')).toBe(
      false,
    );
  });

  it('may read what they are answered, problems included', async () => {
    const service = await startTestService({ CORS_ORIGINS: `http://localhost:3000, ${ORIGIN}` });
    onTestFinished(() => service.stop());
    const from = (path: string, origin: string) => call(service, 'GET', path, undefined, { origin });

    for (const path of ['/users', '/users/1', '/nothing']) {
      const { headers } = await from(path, ORIGIN);

      expect(headers.get('access-control-allow-origin')).toBe(ORIGIN);
      expect(headers.get('access-control-expose-headers')).toMatch(/location, link, x-request-id, retry-after/);
      expect(
        (await from(path, 'https://app.example.com.evil.example')).headers.get('access-control-allow-origin'),
      ).toBe(null);
    }
  });

  it('may read why a request of theirs was one too many', async () => {
    const limited = await startTestApp({ corsOrigins: [ORIGIN], rateLimits: { perAddress: 1, perPrincipal: 0 } });
    onTestFinished(limited.stop);
    const ask = () => call(limited, 'GET', '/users', undefined, { origin: ORIGIN });
    await ask();

    const { status, headers } = await ask();

    expect(status).toBe(429);
    expect(headers.get('access-control-allow-origin')).toBe(ORIGIN);
  });

  it('change nothing for OPTIONS that is no preflight', async () => {
    const open = await startTestApp({ corsOrigins: [ORIGIN] });
    onTestFinished(open.stop);

    const replies = [await call(open, 'OPTIONS', '/users'), await call(open, 'OPTIONS', '/nothing')];

    expect(replies.map(({ status }) => status)).toEqual([405, 404]);
  });
});
