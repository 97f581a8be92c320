import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHANNEL_NAMES } from '../src/channels.ts';
import { createClients } from '../src/topology/clients.ts';
import { provisionTopology } from '../src/topology/provision.ts';
import { type Contract, openContract } from './support/contract.ts';
import { drainQueue } from './support/queues.ts';
import { type Reply, startTestService, type TestService } from './support/service.ts';

/** How long to wait for a condition on a busy machine. */
const PATIENCE = { timeout: 10_000 };

const REQUEST_ID = /^[\w.-]{1,64}$/;

/** What the log has on a request, once it is there. */
async function findLines(service: TestService, reply: Reply) {
  const requestId = reply.headers.get('x-request-id');
  const lines = () => service.logs.filter(({ request_id, msg }) => request_id === requestId && msg === 'request');
  await expect.poll(lines, PATIENCE).not.toEqual([]);
  return lines();
}

describe('the log', () => {
  let service: TestService;
  let api: Contract;

  beforeAll(async () => {
    service = await startTestService();
    api = await openContract(service);
  });

  afterAll(() => service.stop());

  it.each([
    ['GET', '/users/', undefined, '/users', 200],
    ['PUT', '/users/1', {}, '/users/:user_id', 201],
    ['GET', '/users/x', undefined, '/users/:user_id', 400],
    ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55', undefined, '/notifications/:id', 404],
    ['POST', '/notifications/', { payload: 'Hello' }, '/notifications', 202],
    ['POST', '/notifications', '{', '/notifications', 400],
    ['DELETE', '/users', undefined, '/users', 405],
    ['HEAD', '/health/live', undefined, '/health/live', 200],
    ['GET', '/nothing', undefined, undefined, 404],
    ['GET', '/users/%zz', undefined, undefined, 400],
  ])('has one line on %s %s, with its route and status', async (method, path, body, route, status) => {
    const reply = await api.call(method, path, body);

    const lines = await findLines(service, reply);
    expect(lines).toMatchObject([{ level: 30, method, status, duration_ms: expect.any(Number) }]);
    expect(lines.map((line) => line['route'])).toEqual([route]);
  });

  it.each(['a', 'trace-1.2_3', 'x'.repeat(64)])('goes by the request id that the caller gave: %s', async (given) => {
    const reply = await api.call('GET', '/users/x', undefined, { 'x-request-id': given });

    expect(reply.headers.get('x-request-id')).toBe(given);
    expect(reply.body).toMatchObject({ instance: `/requests/${given}` });
    expect(await findLines(service, reply)).toHaveLength(1);
  });

  it.each(['', 'two words', 'x'.repeat(65), '<script>', '"', 'caf\u00e9', '../..'])(
    'goes by an id of its own where the given one is none: %j',
    async (given) => {
      const reply = await api.call('GET', '/users/x', undefined, { 'x-request-id': given });

      expect(reply.headers.get('x-request-id')).not.toBe(given);
      expect(reply.headers.get('x-request-id')).toMatch(REQUEST_ID);
      expect(await findLines(service, reply)).toHaveLength(1);
    },
  );

  it('gives every request an id of its own', async () => {
    const replies = await Promise.all(Array.from({ length: 50 }, () => api.call('GET', '/health/live')));

    expect(new Set(replies.map(({ headers }) => headers.get('x-request-id'))).size).toBe(50);
  });
});

describe('addresses, subjects and payloads', () => {
  const CANARY = /canary|5559999/i;
  const email = 'canary@example.com';
  const phone = '+15559999999';
  const message = { subject: 'Canary subject', payload: 'Canary payload', user_ids: [1] };

  let service: TestService;
  let api: Contract;

  beforeAll(async () => {
    service = await startTestService();
    api = await openContract(service);
    await api.call('PUT', '/users/1', { email, phone });
    await api.call('PUT', '/preferences/1', { email_enabled: true, sms_enabled: true });
  });

  afterAll(() => service.stop());

  /** Asserts that nothing of them is in any line logged so far, nor in the errors among the replies. */
  function expectSecrecy(from: TestService, replies: Reply[]): void {
    const lines = from.logs.map((line) => JSON.stringify(line));
    expect(lines.filter((line) => CANARY.test(line))).toEqual([]);
    const errors = replies.filter(({ status }) => status >= 400);
    expect(errors.map(({ text }) => text).filter((text) => CANARY.test(text))).toEqual([]);
  }

  it('are in no line on a notification that is accepted, repeated, dispatched and read', async () => {
    const key = { 'idempotency-key': 'canary' };
    const replies = [
      await api.call('POST', '/notifications', message, key),
      await api.call('POST', '/notifications', message, { ...key, prefer: 'wait=30' }),
      await api.call('POST', '/notifications', { ...message, payload: 'Another canary' }, key),
      await api.call('GET', '/notifications'),
      await api.call('GET', '/users/1'),
    ];

    const queues = await Promise.all(CHANNEL_NAMES.map((channel) => drainQueue(service.queueUrls[channel])));
    expect(JSON.stringify(queues)).toMatch(CANARY);
    expect(replies.map(({ status }) => status)).toEqual([202, 200, 422, 200, 200]);
    expect(service.logs.some(({ msg }) => msg === 'page settled')).toBe(true);
    expectSecrecy(service, replies);
  });

  it('are in no line on a request that is refused, nor in its problem', async () => {
    const xml = { 'content-type': 'application/xml' };
    const replies = [
      await api.call('PUT', '/users/1', { email: 'canary at example.com', phone: '15559999999' }),
      await api.call('PUT', '/users/1', { email: [email], phone: { phone } }),
      await api.call('PUT', '/users/1', `{"email": "${email}"`),
      await api.call('PUT', '/users/1', `{"email": ${email}}`),
      await api.call('PUT', '/users/1', `<email>${email}</email>`, xml),
      await api.call('PUT', '/users/1', Buffer.from(`{"email": "${email}\u00ff"}`, 'latin1')),
      await api.call('PUT', `/users/${email}`, { email }),
      await api.call('GET', `/users?cursor=${email}`),
      await api.call('GET', `/users/%zz?email=${email}`),
      await api.call('GET', `/${email}`),
      await api.call('DELETE', '/users', { email }),
      await api.call('POST', '/notifications', { ...message, channels: ['canary'], send_at: 'canary' }),
      await api.call('POST', '/notifications', { ...message, payload: { text: 'canary' }, subject: `\u0000canary` }),
      await api.call('POST', '/notifications', { ...message, payload: 'canary'.repeat(50_000) }),
      await api.call('POST', '/notifications', { ...message, payload: 'canary'.repeat(500_000) }),
      await api.call('POST', '/notifications', message, { 'idempotency-key': 'canary'.repeat(50) }),
      await api.call('POST', '/notifications/canary/cancel', message),
    ];
    await new Promise((resolve) => {
      const { hostname, port } = new URL(service.url);
      connect(Number(port), hostname).on('close', resolve).resume().end(`canary ${email}\r\n\r\n`);
    });

    expect(replies.map(({ status }) => Math.floor(status / 100))).toEqual(replies.map(() => 4));
    expectSecrecy(service, replies);
  });

  it('are in no line on a database that fails, nor in the problem', async () => {
    const broken = await startTestService();
    const contract = await openContract(broken);
    await broken.db.$executeRaw`alter table users add check (email not like 'canary%') not valid`;
    await broken.db.$executeRaw`alter table notifications add check (payload not like 'Canary%') not valid`;
    const replies = [
      await contract.call('PUT', '/users/1', { email, phone }),
      await contract.call('POST', '/notifications', message),
    ];
    await broken.db.$executeRaw`alter table preferences rename to lost`;
    replies.push(await contract.call('POST', '/notifications', { ...message, payload: 'A canary' }));
    replies.push(await contract.call('GET', '/preferences'));
    await expect.poll(() => broken.logs.some(({ msg }) => /dispatch failed/.test(String(msg))), PATIENCE).toBe(true);
    await broken.stop();

    expect(replies.map(({ status }) => status)).toEqual([500, 500, 202, 500]);
    expect(broken.logs.filter(({ msg }) => msg === 'unexpected error')).toHaveLength(3);
    expectSecrecy(broken, replies);
  });

  it('are in no line on a topic that takes nothing', async () => {
    const name = `late-${randomUUID()}`;
    const early = await startTestService({ SNS_TOPIC_ARN: `arn:aws:sns:us-east-1:000000000000:${name}` });
    const contract = await openContract(early);
    await contract.call('PUT', '/users/1', { email, phone });
    await contract.call('PUT', '/preferences/1', { email_enabled: true, sms_enabled: true });
    const accepted = await contract.call('POST', '/notifications', message);
    await expect.poll(() => early.logs.some(({ msg }) => /^SNS did not take/.test(String(msg))), PATIENCE).toBe(true);
    await provisionTopology({ ...createClients(), name });
    const path = String(accepted.headers.get('location'));
    await expect
      .poll(async () => (await contract.call('GET', path)).body, PATIENCE)
      .toMatchObject({ counts: { published: 1 } });
    await early.stop();

    expectSecrecy(early, []);
  });
});
