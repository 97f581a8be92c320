import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Scope } from '../src/auth/principal.ts';
import { createDatabase } from '../src/database.ts';
import { bearer, createTestKey, startGuardedService } from './support/auth.ts';
import { type Contract, countStatuses, openContract } from './support/contract.ts';
import { addUsers, range } from './support/dispatch.ts';
import { type Reply, startTestService, type TestService } from './support/service.ts';

const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString();

/** Scheduled, so that no test waits for a dispatch or is disturbed by one. */
const send = (api: Contract, body: object, headers: Record<string, string> = {}) =>
  api.call('POST', '/notifications', { payload: 'Hello', send_at: inAnHour(), ...body }, headers);

const retryAfter = ({ headers }: Reply) => Number(headers.get('retry-after'));

/** What is stored of notifications, their records and their charges. */
async function countStored({ db }: TestService) {
  const [notifications, records] = [await db.notification.count(), await db.auditEntry.count()];
  const usage = await db.usage.findMany({ select: { kind: true, used: true }, orderBy: { kind: 'asc' } });
  return { notifications, records, usage: Object.fromEntries(usage.map(({ kind, used }) => [kind, used])) };
}

/** Deleted, as a truncation waits for whole tables, in a circle with a dispatcher that looks for work. */
async function forgetNotifications({ db }: TestService): Promise<void> {
  await db.$executeRaw`with forgotten as (delete from usage) delete from notifications`;
}

/** Has the windows of all charges so far begin a day ahead: the hour may end during a test, the windows do not. */
async function holdWindows({ db }: TestService): Promise<void> {
  await db.$executeRaw`update usage set window_start = window_start + interval '24 hours'`;
}

describe('expected_recipients', () => {
  let service: TestService;
  let api: Contract;

  beforeAll(async () => {
    service = await startTestService();
    api = await openContract(service);
    await addUsers(service.db, range(1, 10), ['email']);
    await addUsers(service.db, range(11, 15), []);
  });

  afterAll(() => service.stop());

  beforeEach(() => forgetNotifications(service));

  it.each([
    { expected_recipients: 10 },
    { expected_recipients: 10, tolerance: 0 },
    { expected_recipients: 7, tolerance: 3 },
    { expected_recipients: 13, tolerance: 3 },
    { expected_recipients: 0, channels: ['sms'] },
    { expected_recipients: 0, expires_at: '2020-01-01T00:00:00Z', send_at: undefined },
  ])('of %j lets a broadcast to 10 pass', async (body) => {
    expect(await send(api, body)).toMatchObject({ status: 202 });
  });

  it.each([
    [10, { expected_recipients: 9 }],
    [10, { expected_recipients: 11 }],
    [10, { expected_recipients: 6, tolerance: 3 }],
    [10, { expected_recipients: 14, tolerance: 3 }],
    [0, { expected_recipients: 10, channels: ['sms'] }],
  ])('refuses a broadcast to %i for %j, and stores nothing', async (recipients, body) => {
    const before = await countStored(service);

    const reply = await send(api, body);

    expect(reply).toMatchObject({ status: 409, body: { code: 'audience_mismatch', recipients } });
    expect((reply.body as { detail: string }).detail).toMatch(
      new RegExp(`\\b${recipients} recipients .* ${body.expected_recipients} `),
    );
    expect(await countStored(service)).toEqual(before);
  });

  it.each([
    ['/expected_recipients', { expected_recipients: 1, user_ids: [1] }],
    ['/expected_recipients', { expected_recipients: 0, user_ids: [] }],
    ['/expected_recipients', { expected_recipients: -1 }],
    ['/expected_recipients', { expected_recipients: 1.5 }],
    ['/expected_recipients', { expected_recipients: null }],
    ['/tolerance', { tolerance: 1 }],
    ['/tolerance', { tolerance: 1, user_ids: [1] }],
    ['/tolerance', { expected_recipients: 10, tolerance: -1 }],
  ])('names %s as wrong in %j', async (pointer, body) => {
    for (const path of ['/notifications', '/notifications/preview']) {
      const reply = await api.call('POST', path, { payload: 'Hello', ...body });

      expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'body', pointer }] } });
    }
  });

  it('is not held against the audience of later when a request is repeated under its key', async () => {
    const body = { expected_recipients: 10, send_at: inAnHour() };
    const key = { 'idempotency-key': 'expected' };
    const first = await send(api, body, key);
    await addUsers(service.db, [16], ['email']);

    const second = await send(api, body, key);
    const other = await send(api, { ...body, tolerance: 100 }, key);
    await service.db.preference.delete({ where: { user_id: 16 } });
    await service.db.user.delete({ where: { user_id: 16 } });

    expect([second.status, second.text]).toEqual([202, first.text]);
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
  });

  it('does not use up the key of a request that it refuses', async () => {
    const key = { 'idempotency-key': 'refused' };

    const refused = await send(api, { expected_recipients: 1 }, key);
    const accepted = await send(api, { expected_recipients: 10 }, key);

    expect([refused.status, accepted.status]).toEqual([409, 202]);
  });
});

describe('BROADCAST_MAX_PER_HOUR', () => {
  const LIMIT = 10;
  let services: TestService[];
  let apis: Contract[];
  let service: TestService;
  let api: Contract;

  beforeAll(async () => {
    service = await startTestService({ BROADCAST_MAX_PER_HOUR: `${LIMIT}` });
    const { DATABASE_URL } = service.config;
    const others = range(1, 4).map(() => startTestService({ BROADCAST_MAX_PER_HOUR: `${LIMIT}`, DATABASE_URL }));
    services = [service, ...(await Promise.all(others))];
    apis = await Promise.all(services.map((each) => openContract(each)));
    api = await openContract(service);
  });

  afterAll(() => Promise.all(services.map((each) => each.stop())));

  beforeEach(() => forgetNotifications(service));

  /** Uses up all but `left` of the allowance. */
  async function useUp(left: number): Promise<void> {
    await send(api, {});
    await service.db.usage.updateMany({ data: { used: LIMIT - left } });
    await holdWindows(service);
  }

  it('lets exactly as many pass as it says, however many arrive at once at however many processes', async () => {
    await useUp(LIMIT);
    const before = await countStored(service);

    const replies = await Promise.all(range(0, 99).map((n) => send(apis[n % apis.length] ?? api, {})));

    expect(countStatuses(replies)).toEqual({ 202: LIMIT, 429: 100 - LIMIT });
    expect(await countStored(service)).toEqual({
      notifications: before.notifications + LIMIT,
      records: before.records + LIMIT,
      usage: { broadcasts: LIMIT },
    });
  });

  it('refuses the next one until the hour is over, and stores nothing of it', async () => {
    for (let n = 0; n < LIMIT; n++) await send(api, {});
    const before = await countStored(service);

    const reply = await send(api, {}, { 'idempotency-key': 'refused' });

    expect(reply).toMatchObject({ status: 429, body: { code: 'broadcast_limit_reached' } });
    expect(retryAfter(reply)).toBeGreaterThanOrEqual(1);
    expect(retryAfter(reply)).toBeLessThanOrEqual(3_600 - (Math.floor(Date.now() / 1_000) % 3_600) + 60);
    expect(await countStored(service)).toEqual(before);
  });

  it('begins anew with the hour', async () => {
    await send(api, {});
    await service.db.$executeRaw`update usage set used = allowed, window_start = window_start - interval '1 hour'`;

    expect(await send(api, {})).toMatchObject({ status: 202 });
    expect(await countStored(service)).toMatchObject({ usage: { broadcasts: 1 } });
  });

  it('is not charged for a repeated request, nor for one that is refused', async () => {
    await useUp(1);
    const body = { send_at: inAnHour() };
    const key = { 'idempotency-key': 'once' };
    const first = await send(api, body, key);

    const second = await send(api, body, key);
    const other = await send(api, { payload: 'other' }, key);

    expect([first.status, second.status, other.status]).toEqual([202, 202, 422]);
    expect(second.text).toBe(first.text);
    expect(await countStored(service)).toMatchObject({ usage: { broadcasts: LIMIT } });
  });

  it('is charged once for a request that arrives many times at once under its key', async () => {
    await useUp(1);
    const body = { send_at: inAnHour() };

    const replies = await Promise.all(
      range(0, 19).map((n) => send(apis[n % apis.length] ?? api, body, { 'idempotency-key': 'at once' })),
    );

    expect(countStatuses(replies)).toEqual({ 202: 20 });
    expect(await countStored(service)).toMatchObject({ usage: { broadcasts: LIMIT } });
  });

  it('refuses before anybody is counted, when it is used up already', async () => {
    await useUp(0);
    const admin = createDatabase({ url: service.config.DATABASE_URL, poolMax: 1 });

    const reply = await admin.$transaction(async (locked) => {
      await locked.$executeRaw`lock table users in access exclusive mode`;
      return send(api, { expected_recipients: 0 });
    });
    await admin.$disconnect();

    expect(reply).toMatchObject({ status: 429, body: { code: 'broadcast_limit_reached' } });
    expect(retryAfter(reply)).toBeGreaterThanOrEqual(1);
  });

  it('does not refuse a repeated request that expects a number when it is used up by then', async () => {
    await useUp(1);
    const body = { send_at: inAnHour(), expected_recipients: 0 };
    const key = { 'idempotency-key': 'expected once' };
    const first = await send(api, body, key);

    const second = await send(api, body, key);
    const other = await send(api, body, { 'idempotency-key': 'expected again' });

    expect([first.status, second.status, other.status]).toEqual([202, 202, 429]);
    expect(second.text).toBe(first.text);
  });

  it('is charged once for a request that expects a number and arrives many times at once under its key', async () => {
    await useUp(1);
    const body = { send_at: inAnHour(), expected_recipients: 0 };

    const replies = await Promise.all(
      range(0, 19).map((n) => send(apis[n % apis.length] ?? api, body, { 'idempotency-key': 'expected at once' })),
    );

    expect(countStatuses(replies)).toEqual({ 202: 20 });
    expect(await countStored(service)).toMatchObject({ usage: { broadcasts: LIMIT } });
  });

  it('does not count notifications to users', async () => {
    await useUp(0);

    expect(await send(api, { user_ids: [1] })).toMatchObject({ status: 202 });
    expect(await send(api, {})).toMatchObject({ status: 429 });
  });

  it('of 0 lets none pass', async () => {
    const none = await startTestService({ BROADCAST_MAX_PER_HOUR: '0' });

    const reply = await send(await openContract(none), {});

    expect(reply).toMatchObject({ status: 429, body: { code: 'broadcast_limit_reached' } });
    expect(await countStored(none)).toEqual({ notifications: 0, records: 0, usage: {} });
    await none.stop();
  });
});

describe('DAILY_RECIPIENTS', () => {
  const LIMIT = 10;
  const scopes: Scope[] = ['notifications:send', 'notifications:broadcast', 'notifications:read'];
  let service: TestService & { key: string };
  let api: Contract;
  let unlimited: TestService;

  beforeAll(async () => {
    service = await startGuardedService({ DAILY_RECIPIENTS: `${LIMIT}` });
    api = await openContract(service);
    unlimited = await startTestService({ AUTH: 'on', DATABASE_URL: service.config.DATABASE_URL });
    await addUsers(service.db, range(1, 6), ['email', 'sms']);
    await addUsers(service.db, range(7, 12), ['email']);
  });

  afterAll(() => Promise.all([service.stop(), unlimited.stop()]));

  beforeEach(() => forgetNotifications(service));

  const asRoot = (body: object, headers: Record<string, string> = {}) =>
    send(api, body, { ...bearer(service.key), ...headers });

  it('is charged per channel with those who would be told', async () => {
    await asRoot({ user_ids: [5, 6, 7, 8, 99] });
    await asRoot({ user_ids: [1, 2], channels: ['sms'] });

    expect(await countStored(service)).toMatchObject({ usage: { 'recipients:email': 4, 'recipients:sms': 4 } });
  });

  it('names the channel, what is left and what was asked for when it is too much, and stores nothing', async () => {
    await asRoot({ user_ids: range(1, 6) });
    const before = await countStored(service);

    const reply = await asRoot({ user_ids: range(1, 6), channels: ['sms'] });
    const broadcast = await asRoot({});

    expect(reply).toMatchObject({ status: 429, body: { code: 'daily_recipients_reached' } });
    expect((reply.body as { detail: string }).detail).toMatch(/\b4 more users by sms today.* 6\b/);
    expect(broadcast).toMatchObject({ status: 429, body: { code: 'daily_recipients_reached' } });
    expect((broadcast.body as { detail: string }).detail).toMatch(/\b4 more users by email today.* 12\b/);
    expect(retryAfter(reply)).toBeGreaterThanOrEqual(1);
    expect(retryAfter(reply)).toBeLessThanOrEqual(86_400 - (Math.floor(Date.now() / 1_000) % 86_400) + 60);
    expect(await countStored(service)).toEqual(before);
  });

  it('is never exceeded by many at once', async () => {
    await asRoot({ user_ids: [1] });
    await service.db.usage.updateMany({ data: { used: 0 } });
    await holdWindows(service);

    const replies = await Promise.all(range(0, 29).map((n) => asRoot({ user_ids: [1, n % 2 === 0 ? 2 : 7] })));

    expect(countStatuses(replies)).toEqual({ 202: LIMIT / 2, 429: 30 - LIMIT / 2 });
    expect(await countStored(service)).toMatchObject({ usage: { 'recipients:email': LIMIT } });
  });

  it('begins anew with the day', async () => {
    await asRoot({ user_ids: range(1, 10) });
    await service.db.$executeRaw`update usage set window_start = window_start - interval '1 day'`;

    expect(await asRoot({ user_ids: range(1, 10) })).toMatchObject({ status: 202 });
  });

  it('is not charged for a repeated request, and not given back for a canceled one', async () => {
    const body = { user_ids: range(1, 10), send_at: inAnHour() };
    const key = { 'idempotency-key': 'once' };
    const first = await asRoot(body, key);
    await api.call('POST', `${first.headers.get('location')}/cancel`, undefined, bearer(service.key));

    expect(await asRoot(body, key)).toMatchObject({ status: 202, text: first.text });
    expect(await asRoot({ user_ids: [1], channels: ['email'] })).toMatchObject({ status: 429 });
  });

  it('costs nothing for who is not told', async () => {
    await asRoot({ user_ids: range(1, 10) });

    expect(await asRoot({ user_ids: [7, 8, 99], channels: ['sms'] })).toMatchObject({ status: 202 });
    const expired = { expires_at: '2020-01-01T00:00:00Z', send_at: undefined };
    expect(await asRoot({ user_ids: [1], ...expired })).toMatchObject({ status: 202 });
  });

  it.each([
    { name: 'more', dailyRecipients: 12, status: 202 },
    { name: 'less', dailyRecipients: 11, status: 429 },
    { name: 'none', dailyRecipients: 0, status: 429 },
  ])('gives way to what a key says: $dailyRecipients', async ({ name, dailyRecipients, status }) => {
    const key = await createTestKey(service.db, { name, scopes, dailyRecipients });

    for (const each of [service, unlimited]) {
      const reply = await send(await openContract(each), { payload: each.url }, bearer(key));

      expect(reply.status).toBe(each === service ? status : 429);
    }
  });

  it('does not apply where neither the service nor the key has one', async () => {
    const key = await createTestKey(service.db, { name: 'unlimited', scopes });

    for (let n = 0; n < 3; n++) {
      expect(await send(await openContract(unlimited), {}, bearer(key))).toMatchObject({ status: 202 });
    }
    expect(await countStored(service)).toMatchObject({ usage: { broadcasts: 3 } });
  });

  it('is per caller', async () => {
    const key = await createTestKey(service.db, { name: 'another', scopes });
    await asRoot({ user_ids: range(1, 10) });

    expect(await send(api, { user_ids: range(1, 10) }, bearer(key))).toMatchObject({ status: 202 });
  });
});
