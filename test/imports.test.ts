import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Contract, openContract } from './support/contract.ts';
import { createDeps, dispatchAll } from './support/dispatch.ts';
import { importLines, type Kind, NDJSON, openImport, type Result, toLines } from './support/imports.ts';
import { startTestService, type TestService } from './support/service.ts';
import { startSink } from './support/sink.ts';

let service: TestService;
let api: Contract;

beforeAll(async () => {
  service = await startTestService({ ROLE: 'api' });
  api = await openContract(service);
});

afterAll(() => service.stop());

beforeEach(async () => {
  await service.db.preference.deleteMany();
  await service.db.user.deleteMany();
});

const send = (kind: Kind, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
  api.call('POST', `/${kind}/import`, body, { ...NDJSON, ...headers });

const bytes = (...parts: (string | number[])[]) =>
  Uint8Array.from(
    Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part)))),
  );

const listUsers = () => service.db.user.findMany({ orderBy: { user_id: 'asc' } });

const user = (user_id: number, email: string | null = `user${user_id}@example.com`, phone: string | null = null) => ({
  ...{ user_id, email, phone },
});

describe('POST /users/import', () => {
  it('creates and replaces users, and says how many', async () => {
    await service.db.user.create({ data: { user_id: 2, email: 'old@example.com', phone: '+15550000002' } });

    const reply = await send('users', toLines([user(3), { user_id: 2, phone: '+15550000042' }, { user_id: 1 }]));

    expect(reply).toMatchObject({ status: 200, body: { lines: 3, stored: 3, rejected: 0, rejections: [] } });
    expect(await listUsers()).toEqual([user(1, null), user(2, null, '+15550000042'), user(3)]);
  });

  it('stores as many as come, in batches, each with an audit entry', async () => {
    // The longer their addresses, the more memory a batch needs.
    const email = (n: number) => `${'x'.repeat(n / 400)}${n}@${'y'.repeat(1 + n / 400)}.example.com`;
    const users = Array.from({ length: 22_345 }, (_, n) =>
      user(n + 1, email(n), n % 3 === 0 ? null : `+1555${n + 1_000_000}`),
    );
    const before = await service.db.auditEntry.count();

    const reply = await send('users', toLines(users), { 'x-request-id': 'bulk' });

    expect(reply.body).toEqual({ lines: 22_345, stored: 22_345, rejected: 0, rejections: [] });
    expect(await listUsers()).toEqual(users);
    const entries = await service.db.auditEntry.findMany({ where: { request_id: 'bulk' }, orderBy: { id: 'asc' } });
    expect(entries).toMatchObject(
      [10_000, 10_000, 2_345].map((stored) => ({
        ...{ action: 'user.import', object: 'users', outcome: `${stored} stored`, principal: 'anonymous' },
      })),
    );
    expect(await service.db.auditEntry.count()).toBe(before + 3);
  });

  it('keeps the last line of a user, within a batch and across batches', async () => {
    const others = Array.from({ length: 11_000 }, (_, n) => user(n + 10));
    const twice = [user(2, 'a@example.com'), user(1, 'b@example.com'), user(2, 'c@example.com')];
    const lines = [...twice, ...others, user(1, 'd@example.com')];

    const reply = await send('users', toLines([...lines, user(10, 'e@example.com')]));

    expect(reply.body).toMatchObject({ lines: 11_005, stored: 11_005, rejected: 0 });
    expect((await listUsers()).slice(0, 3)).toEqual([
      ...[user(1, 'd@example.com'), user(2, 'c@example.com'), user(10, 'e@example.com')],
    ]);
  });

  it('rejects what PUT would refuse, line by line, and stores the others', async () => {
    const long = `${'x'.repeat(64)}@${'y'.repeat(200)}.example.com`;
    const lines: [line: string, reason: RegExp | null][] = [
      [JSON.stringify(user(1)), null],
      ['{"user_id": 2, "email": "no address"}', /^\/email: Invalid email address$/],
      ['{"user_id": 2, "email": "a,b@example.com"}', /^\/email: Invalid email address$/],
      [`{"user_id": 2, "email": "${long}"}`, /^\/email: /],
      ['{"user_id": 2, "email": "", "phone": "1"}', /^\/email: Invalid email address; \/phone: Invalid E\.164 number$/],
      ['{"email": "a@example.com"}', /^\/user_id: Invalid input: expected number, received undefined$/],
      ['{"user_id": 0}', /^\/user_id: Too small/],
      ['{"user_id": 2147483648}', /^\/user_id: Too big/],
      ['{"user_id": 1e999}', /^\/user_id: /],
      ['{"user_id": "2"}', /^\/user_id: /],
      ['{"user_id": 2, "nothing": 1}', /^\/nothing: is not a known field$/],
      ['{"user_id": 2, "__proto__": {"email": "a@example.com"}}', /^\/__proto__: is not a known field$/],
      ['{"user_id": 2, "constructor": {"prototype": {}}}', /^\/constructor: is not a known field$/],
      ['[{"user_id": 2}]', /^Invalid input: expected object, received array$/],
      ['null', /^Invalid input: expected object, received null$/],
      ['{"user_id": 2', /^is not JSON$/],
      ['{"user_id": 2} {"user_id": 3}', /^is not JSON$/],
      ['[{'.repeat(4_000), /^is not JSON$/],
      ['{"user_id": 2, "email": "\\u0000@example.com"}', /^\/email: /],
      ['{"user_id": 2, "email": "\\ud800@example.com"}', /^\/email: /],
      [
        `{"user_id": 2${', "x": 1'.repeat(500)}, ${Array.from({ length: 500 }, (_, n) => `"f${n}": 1`).join()}}`,
        /^\/x: .{250,296}$/,
      ],
      ['{"user_id": 9}', null],
    ];
    const rejected = lines.flatMap(([, reason], n) => (reason === null ? [] : [{ line: n + 1, reason }]));

    const { body } = await send('users', lines.map(([line]) => line).join('\n'));

    const { rejections, ...counts } = body as Result;
    expect(counts).toEqual({ lines: lines.length, stored: 2, rejected: rejected.length });
    expect(rejections.map(({ line }) => line)).toEqual(rejected.map(({ line }) => line));
    for (const [n, { reason }] of rejected.entries()) expect(rejections[n]?.reason).toMatch(reason);
    expect(await listUsers()).toEqual([user(1), user(9, null)]);
  });

  it('names the first 100 of the rejected lines', async () => {
    const reply = await send('users', `${'x\n'.repeat(150)}{"user_id": 1}\n`);

    const { rejections, ...counts } = reply.body as Result;
    expect(counts).toEqual({ lines: 151, stored: 1, rejected: 150 });
    expect(rejections.map(({ line }) => line)).toEqual(Array.from({ length: 100 }, (_, n) => n + 1));
  });

  it('reads lines however they end, and counts blank ones only in line numbers', async () => {
    const body = '\ufeff{"user_id": 1}\r\n\r\n \t\n\n{"user_id": 2}\r\nx\n{"user_id": 3}';

    const reply = await send('users', body);

    expect(reply.body).toEqual({
      ...{ lines: 4, stored: 3, rejected: 1 },
      rejections: [{ line: 6, reason: 'is not JSON' }],
    });
    expect((await listUsers()).map(({ user_id }) => user_id)).toEqual([1, 2, 3]);
  });

  it('rejects a line that is not UTF-8, and one of more than 16 KiB, though it be of 10 MB', async () => {
    const padded = (length: number) => '{"user_id": 3}'.padEnd(length);
    const body = bytes(
      ...['{"user_id": 1}\n{"user_id": 2, "email": "', [0xc3, 0x28], '@example.com"}\n', `${padded(16_384)}\r\n`],
      ...[`${padded(16_385)}\n`, `${'x'.repeat(10_000_000)}\n{"user_id": 4}\n`, 'é'.repeat(9_000), '\n', [0xff], '\n'],
      ...['{"user_id": 5, "email": null}\n', 'y'.repeat(100_000)],
    );

    const reply = await send('users', body);

    expect(reply.body).toEqual({
      ...{ lines: 10, stored: 4, rejected: 6 },
      rejections: [2, 4, 5, 7, 8, 10].map((line) => ({
        ...{ line, reason: line === 2 || line === 8 ? 'is not valid UTF-8' : 'is longer than 16384 bytes' },
      })),
    });
    expect((await listUsers()).map(({ user_id }) => user_id)).toEqual([1, 3, 4, 5]);
  });

  it('reads a body whose chunks end anywhere: in a character, between CR and LF, in the mark at the start', async () => {
    const text = '\ufeff{"user_id": 1}\r\n{"user_id": 2, "é€😀": 1}\r\n\r\n{"user_id": 3}';
    const { sending, answer } = openImport(service, 'users');

    for (const byte of Buffer.from(text)) {
      await new Promise((resolve) => sending.write(Buffer.of(byte), resolve));
    }
    sending.end();

    expect((await answer).body).toEqual({
      ...{ lines: 3, stored: 2, rejected: 1 },
      rejections: [{ line: 2, reason: '/é€😀: is not a known field' }],
    });
  });

  it.each(['', '\n\r\n \n', '\ufeff'])('answers zeros for a body without a line: %j', async (body) => {
    const reply = await send('users', body);

    expect(reply).toMatchObject({ status: 200, body: { lines: 0, stored: 0, rejected: 0, rejections: [] } });
  });

  it.each([
    ['JSON', '{"user_id": 1}', { 'content-type': 'application/json' }],
    ['another type', '{"user_id": 1}', { 'content-type': 'application/x-ndjson-seq' }],
    ['no type', Uint8Array.from(Buffer.from('{"user_id": 1}')), { 'content-type': '' }],
    ['gzip', Uint8Array.from(gzipSync('{"user_id": 1}')), { 'content-encoding': 'gzip' }],
    ['two encodings', '{"user_id": 1}', { 'content-encoding': 'identity, br' }],
  ])('takes uncompressed NDJSON only: %s', async (_name, body, headers) => {
    const reply = await send('users', body, headers);

    expect(reply).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } });
    expect(reply.headers.get('accept-encoding')).toBe('content-encoding' in headers ? 'identity' : null);
    expect(await listUsers()).toEqual([]);
  });

  it('takes its type in any case and with parameters, and the encoding that is none', async () => {
    const headers = { 'content-type': 'Application/X-NDJSON; charset=utf-8', 'content-encoding': 'Identity' };

    expect((await send('users', '{"user_id": 1}', headers)).status).toBe(200);
  });

  it('is the only kind of call that takes NDJSON', async () => {
    const reply = await api.call('PUT', '/users/1', '{}', NDJSON);

    expect(reply).toMatchObject({ status: 415, body: { detail: 'The request body must be application/json.' } });
  });

  it('may meet itself: concurrent imports of the same users all succeed, and one of them is the last', async () => {
    const some = (email: string) => Array.from({ length: 20_000 }, (_, n) => user(n + 1, email));
    const [ones, others] = [some('one@example.com'), some('other@example.com')];

    for (const second of [others, others.toReversed(), others.slice(5_000), others]) {
      await service.db.user.deleteMany();
      const replies = await Promise.all([ones, second].map((users) => importLines(service, 'users', toLines(users))));

      expect(replies.map(({ status }) => status)).toEqual([200, 200]);
      expect(await service.db.user.count()).toBe(20_000);
    }
  });
});

describe('POST /preferences/import', () => {
  it('creates and replaces preferences, off where a line says nothing', async () => {
    await service.db.preference.create({ data: { user_id: 1, email_enabled: true, sms_enabled: true } });

    const lines = [{ user_id: 1, sms_enabled: true }, { user_id: 2, email_enabled: true }, { user_id: 3 }];
    const reply = await send('preferences', `${toLines(lines)}{"user_id": 4, "email_enabled": null}\n`);

    expect(reply.body).toEqual({
      ...{ lines: 4, stored: 3, rejected: 1 },
      rejections: [{ line: 4, reason: '/email_enabled: Invalid input: expected boolean, received null' }],
    });
    expect(await service.db.preference.findMany({ orderBy: { user_id: 'asc' } })).toEqual([
      { user_id: 1, email_enabled: false, sms_enabled: true },
      { user_id: 2, email_enabled: true, sms_enabled: false },
      { user_id: 3, email_enabled: false, sms_enabled: false },
    ]);
    const entries = await service.db.auditEntry.findMany({ where: { action: 'preference.import' } });
    expect(entries).toMatchObject([{ object: 'preferences', outcome: '3 stored' }]);
  });

  it('is what the next dispatch goes by', async () => {
    const sink = await startSink();
    await send('users', toLines([user(1), user(2)]));
    await send('preferences', toLines([{ user_id: 2, email_enabled: true }]));

    await api.call('POST', '/notifications', { payload: 'Hello', user_ids: [1, 2] });
    await dispatchAll(createDeps({ db: service.db, sns: sink.connect() }));

    const told = sink.accepted.map(({ body }) => JSON.parse(body).data.recipients);
    expect(told).toEqual([[{ user_id: 2, email: 'user2@example.com' }]]);
  });
});
