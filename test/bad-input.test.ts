import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Contract, openContract } from './support/contract.ts';
import { sendRaw } from './support/raw.ts';
import { call, type Reply, startTestService, type TestService } from './support/service.ts';

let service: TestService;
let api: Contract;

beforeAll(async () => {
  service = await startTestService();
  api = await openContract(service);
});

afterAll(() => service.stop());

const NOTIFICATION = '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';

/** Every route that reads a body, with its fields, and those that it cannot do without. */
const WRITING = [
  { method: 'POST', path: '/preferences', fields: ['user_id', 'email_enabled', 'sms_enabled'], needs: { user_id: 7 } },
  { method: 'PUT', path: '/preferences/7', fields: ['user_id', 'email_enabled', 'sms_enabled'], needs: {} },
  { method: 'PATCH', path: '/preferences/7', fields: ['email_enabled', 'sms_enabled'], needs: {} },
  { method: 'PUT', path: '/users/7', fields: ['user_id', 'email', 'phone'], needs: {} },
  {
    ...{ method: 'POST', path: '/notifications', needs: { payload: 'Hello', user_ids: [] } },
    fields: ['payload', 'subject', 'user_ids', 'channels', 'send_at', 'expires_at'],
  },
];

type Fault = { in: string; pointer: string; detail: string };

const faultsOf = ({ body }: Reply) => (body as { errors?: Fault[] }).errors ?? [];

describe.each(WRITING)('$method $path', ({ method, path, fields, needs }) => {
  /** JSON as text, so that it can say what JSON.stringify would not. */
  const values = [
    ...['null', 'true', '0', '-0', '-1', '1.5', '2147483648', '9007199254740993', '1e999', '-1e999', '1e-999'],
    ...['""', '"x"', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00\\ud800"', '"__proto__"', '"\\r\\nX: y"'],
    ...['[]', '{}', '[null]', '[[]]', '[0]', '["\\ud800"]', '{"length":1}', '[1e999]', '[1,[2]]', '[{}]'],
    ...['"2026-02-30T00:00:00Z"', `"${'9'.repeat(15_000)}"`, '9'.repeat(15_000), `${'['.repeat(15)}${']'.repeat(15)}`],
  ];

  it.each(fields)('answers any %s, however wrong, with sense: taken, or 400 naming that field alone', async (field) => {
    const surprises: unknown[] = [];
    for (const value of values) {
      const others = Object.entries(needs).filter(([name]) => name !== field);
      const rest = others.map(([name, other]) => `,${JSON.stringify(name)}:${JSON.stringify(other)}`).join('');

      const reply = await api.call(method, path, `{"${field}":${value}${rest}}`);

      const faults = faultsOf(reply);
      const named = faults.length > 0 && faults.every(({ pointer }) => `${pointer}/`.startsWith(`/${field}/`));
      const sensible = reply.status === 400 ? named : [200, 201, 202, 404, 409].includes(reply.status);
      if (!sensible) surprises.push({ value: value.slice(0, 50), status: reply.status, faults });
    }
    expect(surprises).toEqual([]);
  });

  it.each([
    ['nothing', ''],
    ['null', 'null'],
    ['a number', '1'],
    ['a text', '"x"'],
    ['a list', '[]'],
    ['a list of 16 lists', `${'['.repeat(16)}${']'.repeat(16)}`],
  ])('says of %s that it is no object', async (_, body) => {
    const reply = await api.call(method, path, body);

    expect(reply).toMatchObject({
      status: 400,
      body: { code: 'validation_failed', errors: [{ in: 'body', pointer: '' }] },
    });
  });

  it.each([
    ['an unfinished object', '{'],
    ['10,000 open brackets', '['.repeat(10_000)],
    ['a list of 5,000 lists', `${'['.repeat(5_000)}${']'.repeat(5_000)}`],
    ['single quotes', "{'user_id': 7}"],
    ['a comment', '{} // nothing'],
    ['two objects', '{} {}'],
    ['NaN', '{"user_id": NaN}'],
    ['a raw NUL', '{"user_id\u0000": 7}'],
    ['a raw line break', '{"user_id\n": 7}'],
    ['the key __proto__', '{"__proto__": {"user_id": 7}}'],
    ['the key __proto__, escaped', '{"\\u005f_proto__": {"user_id": 7}}'],
    ['the key __proto__ far inside', `${'{"a":'.repeat(15)}{"__proto__":1}${'}'.repeat(15)}`],
    ['the keys constructor and prototype', '{"constructor": {"prototype": {"user_id": 7}}}'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ['UTF-8 with an encoded surrogate', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])],
    ['UTF-16', Buffer.from('{"user_id":7}', 'utf16le')],
    ['compressed bytes', Buffer.from([0x1f, 0x8b, 0x08, 0x00, 0x00])],
  ])('says of %s that it cannot be read', async (_, body) => {
    const reply = await api.call(method, path, body);

    expect(reply).toMatchObject({ status: 400, body: { code: 'malformed_request' } });
  });

  it.each([
    ['text/plain'],
    ['application/xml'],
    ['application/jsonx'],
    ['text/json'],
    ['nonsense'],
    ['application/x-www-form-urlencoded'],
  ])('takes no %s', async (type) => {
    const reply = await api.call(method, path, '{}', { 'content-type': type });

    expect(reply).toMatchObject({
      ...{
        status: 415,
        body: { code: 'unsupported_media_type', detail: 'The request body must be application/json.' },
      },
    });
  });

  it('names every field that it does not know, in pointers that can be followed', async () => {
    const names = ['user', 'a/b', 'c~d', '~1', '', 'caf\u00e9', 'constructor', 'toString', 'a b'];
    const body = { ...needs, ...Object.fromEntries(names.map((name) => [name, 1])) };

    const reply = await api.call(method, path, body);

    expect(reply.status).toBe(400);
    expect(
      faultsOf(reply)
        .map(({ pointer }) => pointer)
        .toSorted(),
    ).toEqual(['/user', '/a~1b', '/c~0d', '/~01', '/', '/caf\u00e9', '/constructor', '/toString', '/a b'].toSorted());
  });

  it('takes the last of two keys that are the same', async () => {
    const [key, last] = Object.entries(needs)[0] ?? [fields[1], path === '/users/7' ? null : true];
    const rest = JSON.stringify({ ...needs, [String(key)]: last }).slice(1);

    const reply = await api.call(method, path, `{"${key}": {"first": 1}, ${rest}`);

    expect(reply.status).toBeLessThan(500);
    expect(reply.status).not.toBe(400);
  });
});

describe('a notification', () => {
  const send = (body: unknown) => api.call('POST', '/notifications', body);

  it('hears everything that is wrong with it at once', async () => {
    const reply = await api.call(...(['POST', '/notifications'] as const), {
      payload: 1,
      subject: '',
      user_ids: [1, 0, 'x'],
      channels: ['fax'],
      send_at: 'soon',
      expires_at: null,
      'a/b~c': 1,
    });

    expect(reply).toMatchObject({ status: 400, body: { code: 'validation_failed' } });
    expect(
      faultsOf(reply)
        .map(({ pointer }) => pointer)
        .toSorted(),
    ).toEqual([
      ...['/a~1b~0c', '/channels/0', '/expires_at', '/payload', '/send_at', '/subject', '/user_ids/1', '/user_ids/2'],
    ]);
    expect(new Set(faultsOf(reply).map((fault) => fault.in))).toEqual(new Set(['body']));
  });

  it.each(['\0', 'a\0b', '\ud800', '\udc00\ud800', 'a\udfff'])(
    'cannot hold %j, which neither PostgreSQL nor UTF-8 can',
    async (wrong) => {
      const reply = await send({ payload: wrong, subject: wrong, user_ids: [] });

      expect(reply.status).toBe(400);
      expect(faultsOf(reply).map(({ pointer }) => pointer)).toEqual(['/payload', '/subject']);
    },
  );

  it('names 10,000 users at most', async () => {
    const reply = await send({ payload: 'Hello', user_ids: Array.from({ length: 10_001 }, (_, n) => n + 1) });

    expect(reply.status).toBe(400);
    expect(faultsOf(reply)).toMatchObject([{ pointer: '/user_ids' }]);
  });

  it('hears of 100 faults at most', async () => {
    const reply = await send({ payload: 'Hello', user_ids: Array.from({ length: 10_000 }, () => 0) });

    expect(reply.status).toBe(400);
    expect(faultsOf(reply).map(({ pointer }) => pointer)).toEqual(
      Array.from({ length: 100 }, (_, n) => `/user_ids/${n}`),
    );
  });

  it.each([`[${'0,'.repeat(1_000_000)}0]`, `{${'"a":1,'.repeat(300_000)}"a":1}`, `[${'{},'.repeat(690_000)}{}]`])(
    'of 2 MiB of nonsense is refused before anybody looks closer',
    async (nonsense) => {
      const reply = await send(`{"payload":"Hello","user_ids":${nonsense}}`);

      expect(reply).toMatchObject({ status: 400, body: { code: 'malformed_request' } });
    },
  );

  it.each([`"${'9'.repeat(70_000)}"`, '9'.repeat(70_000)])(
    'hears that a text or a number is no list',
    async (value) => {
      const reply = await send(`{"payload":"Hello","user_ids":${value}}`);

      expect(reply).toMatchObject({ status: 400, body: { code: 'validation_failed' } });
      expect(new Set(faultsOf(reply).map(({ pointer }) => pointer))).toEqual(new Set(['/user_ids']));
    },
  );

  it.each([
    ...['2026-02-30T00:00:00Z', '2027-02-29T00:00:00Z', '2026-13-01T00:00:00Z', '2026-01-01T24:00:00Z'],
    ...[
      '2026-06-30T23:59:60Z',
      '2026-01-01T00:00:00',
      '2026-01-01',
      '2026-01-01 00:00:00Z',
      '2026-01-01T00:00:00+25:00',
    ],
    ...['0000-01-01T00:00:00Z', '1999-12-31T23:59:59Z', '9999-01-01T00:00:00Z', '+010000-01-01T00:00:00Z'],
    ...['9998-12-31T23:59:59-01:00', '-000001-01-01T00:00:00Z', 'now', '', '1767225600', 1_767_225_600],
  ])('cannot be sent at %j', async (send_at) => {
    const reply = await send({ payload: 'Hello', user_ids: [], send_at });

    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'body', pointer: '/send_at' }] } });
  });

  it.each([
    ['2028-02-29T00:00:00Z', '2028-02-29T00:00:00.000Z'],
    ['2000-01-01T00:00:00Z', '2000-01-01T00:00:00.000Z'],
    ['9998-12-31T23:59:59.999Z', '9998-12-31T23:59:59.999Z'],
    ['2098-01-01T00:00:00.123456789Z', '2098-01-01T00:00:00.123Z'],
    ['2098-01-01T00:00:00-00:00', '2098-01-01T00:00:00.000Z'],
    ['2098-01-01T00:00:00+23:59', '2097-12-31T00:01:00.000Z'],
  ])('can be sent at %s', async (send_at, shown) => {
    const reply = await send({ payload: 'Hello', user_ids: [], send_at });

    expect(reply).toMatchObject({ status: 202, body: { send_at: shown } });
  });

  it.each([
    ['Idempotency-Key', '\u00ff\u0080'],
    ['Prefer', 'wait=99999999999999999999'],
    ['Prefer', ',;="\\'],
    ['traceparent', '00-x'],
    ['traceparent', `00-${'0'.repeat(5_000)}`],
    ['Accept', 'text/html;q=x'],
    ['content-type', 'application/json; charset=utf-16'],
    ['content-type', 'APPLICATION/JSON;;'],
    ['Content-Encoding', 'br'],
    ['X-HTTP-Method-Override', 'DELETE'],
  ])('is accepted beside %s: %s', async (name, value) => {
    const reply = await api.call('POST', '/notifications', { payload: 'Hello', user_ids: [] }, { [name]: value });

    expect(reply.status).toBe(202);
  });

  it('may begin with a byte order mark', async () => {
    expect((await send('\ufeff{"payload":"Hello","user_ids":[]}')).status).toBe(202);
  });
});

describe('a path', () => {
  const routes = [
    ...[
      '/preferences/:id',
      '/users/:id',
      '/notifications/:id',
      '/notifications/:id/messages',
      '/notifications/:id/failures',
      '/notifications/:id/cancel',
      '/notifications/:id/retry',
    ],
  ];

  it.each(routes)('like %s answers any id, however wrong, with 400', async (route) => {
    const ids = [
      '%00',
      '%ff',
      '%zz',
      '%',
      '%E0%A4%A',
      '%F0%9F%98%80',
      '%2e%2e%2f',
      'x'.repeat(99),
      'x'.repeat(5_000),
      '__proto__',
      'null',
    ];
    const methods = ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE'];
    const surprises: unknown[] = [];
    for (const id of ids) {
      for (const method of methods) {
        const reply = await api.call(
          method,
          route.replace(':id', id),
          method === 'GET' || method === 'HEAD' ? undefined : {},
        );

        if (![400, 405].includes(reply.status)) surprises.push({ method, id, status: reply.status });
      }
    }
    expect(surprises).toEqual([]);
  });

  it.each(['/preferences', '/users', '/notifications', `${NOTIFICATION}/messages`, `${NOTIFICATION}/failures`])(
    'like %s answers any query, however wrong, with 400',
    async (path) => {
      const queries = [
        ...[
          'limit=%00',
          'limit=%ff',
          'limit=%zz',
          'limit=\u0661',
          'limit[]=1',
          'limit[a]=1',
          'limit=1&limit=1',
          'LIMIT=1',
        ],
        ...['cursor=%00', 'cursor=1e1', 'cursor=NaN', `cursor=${'9'.repeat(5_000)}`, 'cursor=%27%20or%201=1'],
        ...['__proto__=1', 'constructor=1', '%ED%A0%80=1', '=', 'x', 'a&'.repeat(2_000), 'a[b][c]=1'],
      ];
      const surprises: unknown[] = [];
      for (const query of queries) {
        const reply = await api.call('GET', `${path}?${query}`);

        const faults = faultsOf(reply);
        const named = faults.length > 0 && faults.length <= 100 && faults.every((fault) => fault.in === 'query');
        if (reply.status !== 400 || !named) surprises.push({ query, status: reply.status, faults });
      }
      expect(surprises).toEqual([]);
    },
  );

  it.each([
    '/',
    '/favicon.ico',
    '/preference',
    '/Preferences',
    '/preferences/1/2',
    '//preferences',
    '/notifications/1/resend',
    '/users/1//',
    '/%00',
    '/*',
  ])('%s that nothing is served under is a problem of its own, whatever comes with it', async (path) => {
    const replies = [
      await api.call('GET', path),
      await api.call('POST', path, '{'),
      await api.call('PUT', path, '<a/>', { 'content-type': 'application/xml' }),
      await api.call('PROPFIND', path),
    ];

    for (const reply of replies) expect(reply).toMatchObject({ status: 404, body: { code: 'route_not_found' } });
  });

  it('answers HEAD like GET, without a body', async () => {
    await api.call('PUT', '/users/8', {});

    for (const path of ['/users', '/users/8', '/users/9', '/users/x', '/health/live', '/nothing']) {
      const get = await api.call('GET', path);
      const head = await api.call('HEAD', path);

      expect([head.status, head.text]).toEqual([get.status, '']);
      expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'));
    }
  });

  it('answers TRACE and methods nobody has heard of without harm', async () => {
    for (const method of ['TRACE', 'BREW']) {
      const reply = await sendRaw(service.url, `${method} /users HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);

      expect(reply.status).toBe(method === 'TRACE' ? 405 : 400);
      expect(reply.problem).toMatchObject({ status: reply.status });
    }
  });
});

describe('bytes that are no request', () => {
  const big = 'x'.repeat(20_000);

  it.each([
    ['a line of garbage', 'garbage\r\n\r\n', 400, 'malformed_request'],
    ['TLS', '\u0016\u0003\u0001\u0002\u0000\u0001', 400, 'malformed_request'],
    ['another version', 'GET / HTTP/9.9\r\nHost: x\r\n\r\n', 400, 'malformed_request'],
    ['a header without a name', 'GET /users HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n', 400, 'malformed_request'],
    [
      'two lengths',
      'POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}',
      400,
      'malformed_request',
    ],
    ['headers over the limit', `GET /users HTTP/1.1\r\nHost: x\r\nX-Big: ${big}\r\n\r\n`, 431, 'headers_too_large'],
    ['a path over the limit', `GET /${big} HTTP/1.1\r\nHost: x\r\n\r\n`, 431, 'headers_too_large'],
  ])('such as %s get a problem', async (_, bytes, status, code) => {
    const reply = await sendRaw(service.url, bytes);

    expect(reply.status).toBe(status);
    expect(reply.headers).toMatch(/^content-type: application\/problem\+json$/im);
    expect(reply.headers).toMatch(/^x-request-id: [\w.-]+$/im);
    expect(reply.problem).toMatchObject({ status, code });
  });

  it('leave the service as it was', async () => {
    expect(await call(service, 'GET', '/health/ready')).toMatchObject({ status: 200 });
    expect(service.logs.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });
});
