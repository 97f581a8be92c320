import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHANNEL_NAMES } from '../src/channels.ts';
import { type Contract, countStatuses, openContract } from './support/contract.ts';
import { drainQueue } from './support/queues.ts';
import { type Reply, startTestService, type TestService } from './support/service.ts';

/** How long to wait for a condition on a busy machine. */
const PATIENCE = { timeout: 10_000 };

let service: TestService;
let api: Contract;

beforeAll(async () => {
  service = await startTestService();
  api = await openContract(service);
  const user_ids = Array.from({ length: 20 }, (_, n) => n + 1);
  await service.db.user.createMany({
    data: user_ids.map((user_id) => ({ user_id, email: `u${user_id}@example.com` })),
  });
  await service.db.preference.createMany({ data: user_ids.map((user_id) => ({ user_id, email_enabled: true })) });
});

afterAll(() => service.stop());

const send = (key: string, body: unknown, headers: Record<string, string> = {}) =>
  api.call('POST', '/notifications', body, { 'idempotency-key': key, ...headers });

const isReplayed = ({ headers }: Reply) => headers.get('idempotency-replayed') === 'true';

const pathOf = ({ headers }: Reply) => headers.get('location') ?? '';

async function countNotifications(payload: string): Promise<number> {
  return service.db.notification.count({ where: { payload } });
}

describe('a request repeated under its Idempotency-Key', () => {
  it('gets the first answer, byte for byte, and says so', async () => {
    const body = { payload: 'byte for byte', subject: 'Twice', user_ids: [3, 1, 2], channels: ['email'] };

    const first = await send('byte for byte', body);
    const second = await send('byte for byte', body);

    expect([first.status, isReplayed(first)]).toEqual([202, false]);
    expect([second.status, isReplayed(second)]).toEqual([202, true]);
    expect(second.text).toBe(first.text);
    expect(pathOf(second)).toBe(pathOf(first));
    expect(await countNotifications('byte for byte')).toBe(1);
  });

  it.each([
    { state: 'completed', body: { user_ids: [1] } },
    { state: 'completed', body: {} },
    { state: 'expired', body: { expires_at: '2020-01-01T00:00:00Z' } },
  ])('gets the first answer when the notification is $state by now', async ({ state, body }) => {
    const key = `by now ${JSON.stringify(body)}`;
    const first = await send(key, { payload: key, ...body });
    await expect
      .poll(async () => (await api.call('GET', pathOf(first))).body, PATIENCE)
      .toMatchObject({ status: state });

    const second = await send(key, { payload: key, ...body });

    expect([second.status, isReplayed(second), second.text]).toEqual([202, true, first.text]);
  });

  it('gets the first answer when the notification is canceled by now', async () => {
    const body = { payload: 'canceled', send_at: '2098-01-01T00:00:00Z' };
    const first = await send('canceled', body);
    await api.call('POST', `${pathOf(first)}/cancel`);

    const second = await send('canceled', body);

    expect(second.body).toMatchObject({ status: 'scheduled', audience: { count: null } });
    expect(second.text).toBe(first.text);
  });

  it('gets the dispatched notification when it waits for it', async () => {
    const body = { payload: 'waiting', user_ids: [1] };
    await send('waiting', body);

    const second = await send('waiting', body, { prefer: 'wait=30' });

    expect(second).toMatchObject({ status: 200, body: { status: 'completed' } });
    expect(isReplayed(second)).toBe(true);
  });

  it('is recognised whatever the order of its fields, users and channels, and however a date is written', async () => {
    const first = await send(
      'order',
      '{"payload":"order","user_ids":[1,2,3],"channels":["email","sms"],"send_at":"2098-01-01T00:00:00Z"}',
    );
    const second = await send(
      'order',
      '{ "send_at": "2098-01-01T02:00:00.000+02:00", "channels": ["sms", "email"], "user_ids": [3, 1e0, 2, 2], "payload": "\\u006frder" }',
    );
    const third = await send('order', { payload: 'order', user_ids: [1, 2, 3], send_at: '2098-01-01T00:00:00Z' });

    expect([second.text, isReplayed(second)]).toEqual([first.text, true]);
    expect([third.text, isReplayed(third)]).toEqual([first.text, true]);
  });

  it.each([
    ['payload', { payload: 'other' }],
    ['subject', { subject: 'other' }],
    ['users', { user_ids: [1] }],
    ['audience', { user_ids: undefined }],
    ['audience of nobody', { user_ids: [] }],
    ['channels', { channels: ['sms'] }],
    ['send_at', { send_at: '2098-01-01T00:00:00.001Z' }],
    ['expires_at', { expires_at: '2098-01-01T00:00:00Z' }],
  ])('is refused with 422 when it differs in its %s', async (name, change) => {
    const body = { payload: 'differs', user_ids: [1, 2] };
    const first = await send(`differs ${name}`, body);

    const reply = await send(`differs ${name}`, { ...body, ...change });
    const again = await send(`differs ${name}`, body);

    expect(reply).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
    expect(again.text).toBe(first.text);
  });

  it('is refused with 422 when it differs in what it expects', async () => {
    const body = { payload: 'expects', send_at: '2098-01-01T00:00:00Z', expected_recipients: 20 };
    const first = await send('expects', body);

    const same = await send('expects', { ...body, tolerance: 0 });
    const tolerant = await send('expects', { ...body, tolerance: 1 });
    const other = await send('expects', { ...body, expected_recipients: 21 });
    const { expected_recipients: _, ...without } = body;

    expect([first.status, same.status, same.text]).toEqual([202, 202, first.text]);
    expect([tolerant.status, other.status, (await send('expects', without)).status]).toEqual([422, 422, 422]);
  });

  it('has one notification and one set of messages, however many arrive at once', async () => {
    const body = { payload: 'fifty at once', user_ids: Array.from({ length: 20 }, (_, n) => n + 1) };

    const replies = await Promise.all(Array.from({ length: 50 }, () => send('fifty at once', body)));

    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(replies.map(({ text }) => text)).size).toBe(1);
    expect(replies.filter((reply) => !isReplayed(reply))).toHaveLength(1);
    expect(await countNotifications('fifty at once')).toBe(1);
    const path = pathOf(replies[0] ?? (await send('fifty at once', body)));
    await expect.poll(async () => (await api.call('GET', path)).body, PATIENCE).toMatchObject({ status: 'completed' });
    const queues = await Promise.all(CHANNEL_NAMES.map((channel) => drainQueue(service.queueUrls[channel])));
    const received = queues.flat().filter(({ body: { data } }) => data.payload === 'fifty at once');
    const told = received.flatMap(({ body: { data } }) => data.recipients.map(({ user_id }) => user_id));
    expect(told.toSorted((a, b) => a - b)).toEqual(body.user_ids);
  });

  it('has one notification when rivals differ: one body wins, the others are refused', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, n) => send('rivals', { payload: 'rivals', user_ids: [(n % 2) + 1] })),
    );

    expect(countStatuses(replies)).toEqual({ 202: 10, 422: 10 });
    expect(await countNotifications('rivals')).toBe(1);
  });
});

describe('Idempotency-Key', () => {
  it('of another request is another notification', async () => {
    const first = await send('one', { payload: 'keys', user_ids: [] });
    const second = await send('two', { payload: 'keys', user_ids: [] });
    const third = await api.call('POST', '/notifications', { payload: 'keys', user_ids: [] });

    expect(new Set([first, second, third].map(pathOf)).size).toBe(3);
    expect([first, second, third].some(isReplayed)).toBe(false);
  });

  it('is not used up by a request that is refused', async () => {
    const refused = await send('refused', { payload: '' });
    const tooLarge = await send('refused', { payload: 'x'.repeat(262_144) });

    const accepted = await send('refused', { payload: 'refused', user_ids: [] });

    expect([refused.status, tooLarge.status, accepted.status]).toEqual([400, 413, 202]);
    expect(isReplayed(accepted)).toBe(false);
  });

  it.each(['k'.repeat(255), '"quoted"', "'; drop table notifications; --", 'caf\u00e9', '{}'])(
    'may be any text of up to 255 characters: %s',
    async (key) => {
      const first = await send(key, { payload: 'any text', user_ids: [] });
      const second = await send(key, { payload: 'any text', user_ids: [] });

      expect([first.status, second.text, isReplayed(second)]).toEqual([202, first.text, true]);
    },
  );

  it.each([
    ['empty', ''],
    ['of 256 characters', 'k'.repeat(256)],
  ])('is refused when it is %s', async (_, key) => {
    const reply = await send(key, { payload: 'refused key' });

    expect(reply).toMatchObject({
      status: 400,
      body: { code: 'validation_failed', errors: [{ in: 'headers', pointer: '/idempotency-key' }] },
    });
    expect(await countNotifications('refused key')).toBe(0);
  });
});
