import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHANNEL_NAMES, type Channel } from '../src/channels.ts';
import { fitsMessage } from '../src/notifications/message.ts';
import { type Contract, openContract, SHARED_ANSWERS, walkList } from './support/contract.ts';
import { drainQueue } from './support/queues.ts';
import { call, type Reply, startTestService, type TestService } from './support/service.ts';

/** How long to wait for a condition on a busy machine. */
const PATIENCE = { timeout: 10_000 };

let service: TestService;
let api: Contract;

const LONGEST_EMAIL = `${'a'.repeat(64)}@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(59)}.example`;

/** Every user there is, each in a situation of their own. */
const USERS = [
  { user_id: 1, email: 'one@example.com', phone: '+15550000001', on: ['email', 'sms'] },
  { user_id: 2, email: 'two@example.com', phone: '+15550000002', on: ['email'] },
  { user_id: 3, email: 'three@example.com', phone: '+15550000003', on: [] },
  { user_id: 4, email: 'four@example.com', phone: '+15550000004', on: null },
  { user_id: 5, email: null, phone: null, on: ['email', 'sms'] },
  { user_id: 6, email: null, phone: '+15550000006', on: ['email', 'sms'] },
  { user_id: 2_147_483_647, email: LONGEST_EMAIL, phone: '+123456789012345', on: ['email', 'sms'] },
] satisfies { user_id: number; email: string | null; phone: string | null; on: Channel[] | null }[];
const LAST_USER = 2_147_483_647;

beforeAll(async () => {
  service = await startTestService();
  api = await openContract(service);
  for (const { on, ...user } of USERS) {
    await service.db.user.create({ data: user });
    if (on === null) continue;
    const [email_enabled, sms_enabled] = [on.includes('email'), on.includes('sms')];
    await service.db.preference.create({ data: { user_id: user.user_id, email_enabled, sms_enabled } });
  }
});

afterAll(() => service.stop());

type Notification = { id: string; status: string; counts: { targeted: number }; started_at: string };

/** Sends a notification and waits until it is dispatched. */
const dispatch = (body: object) => api.call('POST', '/notifications', body, { prefer: 'wait=30' });

const idOf = ({ body }: Reply) => (body as Notification).id;

const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();

/** Whom the queues have for a notification, per channel. They are empty afterwards. */
async function receive(id: string): Promise<Record<string, number[]>> {
  const received: Record<string, number[]> = {};
  for (const channel of CHANNEL_NAMES) {
    const messages = await drainQueue(service.queueUrls[channel]);
    received[channel] = messages
      .filter(({ body }) => body.data.notification_id === id)
      .flatMap(({ body }) => body.data.recipients.map(({ user_id }) => user_id))
      .toSorted((a, b) => a - b);
  }
  return received;
}

const NOBODY = { unknown_user: 0, no_preferences: 0, opted_out: 0, no_contact: 0, canceled: 0, expired: 0 };

describe('the notifications routes', () => {
  it('give every answer that is documented, and no other', async () => {
    const contract = await openContract(service);
    const unknown = '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';
    const keyed = { 'idempotency-key': 'every answer' };
    const accepted = await contract.call('POST', '/notifications', { payload: 'a', user_ids: [] }, keyed);
    const path = `/notifications/${idOf(accepted)}`;
    await contract.call('POST', '/notifications', { payload: 'a', user_ids: [] }, { ...keyed, prefer: 'wait=30' });
    await contract.call('POST', '/notifications', { payload: 'b', user_ids: [] }, keyed);
    await contract.call('GET', '/notifications');
    await contract.call('GET', '/notifications?status=x');
    await contract.call('GET', `${path}/events`, undefined, { 'last-event-id': 'end' });
    for (const part of ['', '/messages', '/failures', '/events']) {
      await contract.call('GET', `${path}${part}`);
      await contract.call('GET', `${unknown}${part}`);
      await contract.call('GET', `/notifications/x${part}`);
    }
    const scheduled = await contract.call('POST', '/notifications', { payload: 'a', send_at: inHours(1) });
    const controls = ['pause', 'resume', 'cancel', 'retry'];
    for (const control of controls) {
      await contract.call('POST', `/notifications/${idOf(scheduled)}/${control}`);
      await contract.call('POST', `${path}/${control}`);
      await contract.call('POST', `${unknown}/${control}`);
      await contract.call('POST', `/notifications/x/${control}`);
    }
    await contract.call('POST', '/notifications', { payload: 'a', expected_recipients: 1_000 });
    await contract.call('POST', '/notifications/preview', { payload: 'a' });
    const readers = controls.map((control) => `${path}/${control}`);
    for (const target of ['/notifications', '/notifications/preview', ...readers]) {
      await contract.call('POST', target, '{');
      await contract.call('POST', target, ' '.repeat(3 * 1024 * 1024));
      await contract.call('POST', target, 'payload', { 'content-type': 'text/plain' });
    }

    const unseen = contract.documented('Notifications').filter((answer) => !contract.seen.has(answer));

    expect(unseen.filter((answer) => !SHARED_ANSWERS.test(answer))).toEqual([]);
  });
});

describe('POST /notifications', () => {
  it('answers 202 with the notification as accepted and its location', async () => {
    const reply = await api.call('POST', '/notifications', { payload: 'Hello', user_ids: [2, 1] });

    expect(reply.status).toBe(202);
    expect(reply.headers.get('location')).toBe(`/notifications/${idOf(reply)}`);
    expect(reply.headers.get('idempotency-replayed')).toBeNull();
    expect(reply.headers.get('preference-applied')).toBeNull();
    expect(reply.body).toEqual({
      ...{ id: expect.any(String), status: 'queued', subject: null, payload: 'Hello' },
      ...{ audience: { type: 'users', count: 2 }, channels: ['email', 'sms'], created_at: expect.any(String) },
      ...{ send_at: null, expires_at: null, started_at: null, completed_at: null, progress: 0 },
      ...{ rate: null, eta: null },
      counts: {
        ...{ targeted: 2, published: 0, failed: 0, pending: 2, messages: 0 },
        ...{ suppressed: NOBODY, by_channel: { email: 0, sms: 0 } },
      },
    });
  });

  it('tells each user on the channels they want, and accounts for each who is not told', async () => {
    const reply = await dispatch({ payload: 'Hello', subject: 'News', user_ids: [1, 2, 3, 4, 5, 6, 99] });

    expect(reply.body).toMatchObject({
      ...{ status: 'completed', subject: 'News', progress: 1, audience: { type: 'users', count: 7 } },
      counts: {
        ...{ targeted: 7, published: 3, failed: 0, pending: 0, messages: 3 },
        suppressed: { ...NOBODY, unknown_user: 1, no_preferences: 1, opted_out: 1, no_contact: 1 },
        by_channel: { email: 2, sms: 2 },
      },
    });
    expect((await api.call('GET', `/notifications/${idOf(reply)}`)).body).toEqual(reply.body);
    expect(await receive(idOf(reply))).toEqual({ email: [1, 2], sms: [1, 6] });
  });

  it('tells everyone when no users are named', async () => {
    const reply = await api.call('POST', '/notifications/', { payload: 'Hello' }, { prefer: 'wait=30' });

    expect(reply.body).toMatchObject({
      ...{ status: 'completed', audience: { type: 'everyone', count: USERS.length } },
      counts: {
        targeted: USERS.length,
        published: 4,
        suppressed: { ...NOBODY, no_preferences: 1, opted_out: 1, no_contact: 1 },
      },
    });
    expect(await receive(idOf(reply))).toEqual({ email: [1, 2, LAST_USER], sms: [1, 6, LAST_USER] });
  });

  it('does not know how many everyone are until it has reached them', async () => {
    const reply = await api.call('POST', '/notifications', { payload: 'Hello' });

    expect(reply.body).toMatchObject({ audience: { type: 'everyone', count: null }, counts: { targeted: 0 } });
  });

  it('counts a user named twice once', async () => {
    const reply = await dispatch({ payload: 'Hello', user_ids: [1, 2, 1, 1, 2] });

    expect(reply.body).toMatchObject({ audience: { count: 2 }, counts: { targeted: 2, published: 2 } });
    expect(await receive(idOf(reply))).toEqual({ email: [1, 2], sms: [1] });
  });

  it('completes for an audience of nobody', async () => {
    const reply = await dispatch({ payload: 'Hello', user_ids: [] });

    expect(reply).toMatchObject({
      status: 200,
      body: { status: 'completed', progress: 1, audience: { type: 'users', count: 0 }, counts: { targeted: 0 } },
    });
  });

  it('takes an audience of 10,000', async () => {
    const reply = await dispatch({ payload: 'Hello', user_ids: Array.from({ length: 10_000 }, (_, n) => n + 1) });

    expect(reply.body).toMatchObject({
      counts: { targeted: 10_000, published: 3, suppressed: { unknown_user: 9_994 } },
    });
  });

  it.each([
    { channels: ['sms'], email: [], sms: [1, 6], opted_out: 2 },
    { channels: ['email'], email: [1, 2], sms: [], opted_out: 1 },
    { channels: ['sms', 'email', 'sms'], email: [1, 2], sms: [1, 6], opted_out: 1 },
  ])('keeps to the channels $channels', async ({ channels, email, sms, opted_out }) => {
    const reply = await dispatch({ payload: 'Hello', user_ids: [1, 2, 3, 4, 5, 6], channels });

    const inOrder = CHANNEL_NAMES.filter((channel) => channels.includes(channel));
    expect(reply.body).toMatchObject({ channels: inOrder, counts: { suppressed: { opted_out } } });
    expect(await receive(idOf(reply))).toEqual({ email, sms });
  });
});

describe('a payload', () => {
  const headers = {
    prefer: 'wait=30',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  };

  it.each(['x', '"', '\u0001', 'é', '\uffff', '😀'])(
    'of as many %j as are accepted reaches the user with the longest addresses; with one more it is refused',
    async (char) => {
      const subject = '"'.repeat(998);
      const payload = fillMessage(subject, char);
      const body = { payload, subject, user_ids: [LAST_USER] };

      const accepted = await api.call('POST', '/notifications', body, headers);
      const refused = await api.call('POST', '/notifications', { ...body, payload: payload + char }, headers);

      expect(accepted).toMatchObject({ status: 200, body: { counts: { published: 1, failed: 0 } } });
      expect((accepted.body as { payload: string }).payload === payload).toBe(true);
      for (const channel of CHANNEL_NAMES) {
        const [message] = await drainQueue(service.queueUrls[channel]);
        expect(message?.body.data.payload === payload).toBe(true);
      }
      expect(refused).toMatchObject({ status: 413, body: { code: 'payload_too_large' } });
    },
  );

  it('may fill a message of 256 KiB but for 4 KiB', () => {
    expect(fillMessage(null, 'x').length).toBeGreaterThan(252 * 1024);
  });

  it('may arrive with every character escaped, beside the largest audience', async () => {
    const payload = fillMessage(null, 'x').replaceAll('x', '\\u0078');
    const user_ids = Array.from({ length: 10_000 }, (_, n) => 2_000_000_000 + n).join(', ');

    const reply = await api.call('POST', '/notifications', `{"payload": "${payload}", "user_ids": [${user_ids}]}`);

    expect(reply.status).toBe(202);
  });

  it('in a body of more than 2 MiB is refused before it is read', async () => {
    const reply = await api.call('POST', '/notifications', { payload: 'x'.repeat(2 * 1024 * 1024) });

    expect(reply).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
  });

  /** The longest text of one character that fits a message beside the subject. */
  function fillMessage(subject: string | null, char: string): string {
    let [fits, tooLong] = [0, 300_000];
    while (tooLong - fits > 1) {
      const middle = Math.floor((fits + tooLong) / 2);
      if (fitsMessage(subject, char.repeat(middle))) fits = middle;
      else tooLong = middle;
    }
    return char.repeat(fits);
  }
});

describe('send_at', () => {
  it('holds a notification back until it is due', async () => {
    const send_at = new Date(Date.now() + 1_500).toISOString();

    const reply = await api.call('POST', '/notifications', { payload: 'Hello', user_ids: [1], send_at });
    const path = `/notifications/${idOf(reply)}`;

    expect(reply).toMatchObject({ status: 202, body: { status: 'scheduled', send_at, started_at: null } });
    expect((await api.call('GET', path)).body).toEqual(reply.body);
    expect(await receive(idOf(reply))).toEqual({ email: [], sms: [] });
    await expect
      .poll(async () => (await api.call('GET', path)).body, PATIENCE)
      .toMatchObject({ status: 'completed', counts: { published: 1 } });
    const { started_at } = (await api.call('GET', path)).body as Notification;
    expect(Date.parse(started_at)).toBeGreaterThanOrEqual(Date.parse(send_at));
    expect(await receive(idOf(reply))).toEqual({ email: [1], sms: [1] });
  });

  it('in the past means at once', async () => {
    const reply = await dispatch({ payload: 'Hello', user_ids: [1], send_at: '2020-01-01T00:00:00Z' });

    expect(reply.body).toMatchObject({ status: 'completed', send_at: '2020-01-01T00:00:00.000Z' });
  });

  it('is understood with any offset, and shown in UTC', async () => {
    const send_at = '2098-05-06T01:02:03.5+05:30';

    const reply = await api.call('POST', '/notifications', { payload: 'Hello', user_ids: [1], send_at });

    expect(reply.body).toMatchObject({ status: 'scheduled', send_at: '2098-05-05T19:32:03.500Z' });
  });
});

describe('expires_at', () => {
  it.each([
    ['2098-01-01T00:00:00Z', '2098-01-01T00:00:00.000Z'],
    ['2098-01-01T00:00:00Z', '2097-12-31T23:59:59.999Z'],
    ['2098-01-01T00:00:00Z', '2098-01-01T00:30:00+01:00'],
  ])('has to be later than send_at, and for %s it is not %s', async (send_at, expires_at) => {
    const reply = await api.call('POST', '/notifications', { payload: 'Hello', user_ids: [1], send_at, expires_at });

    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'body', pointer: '/expires_at' }] } });
  });

  it.each([
    { audience: 'users', user_ids: [1, 2, 99], count: 3 },
    { audience: 'everyone', user_ids: undefined, count: USERS.length },
  ])('in the past ends a notification to $audience before anybody is told', async ({ user_ids, count }) => {
    const reply = await dispatch({ payload: 'Hello', user_ids, expires_at: '2020-01-01T00:00:00Z' });

    expect(reply).toMatchObject({
      status: 200,
      body: {
        ...{ status: 'expired', progress: 1, completed_at: expect.any(String), audience: { count } },
        counts: { targeted: count, published: 0, pending: 0, suppressed: { ...NOBODY, expired: count } },
      },
    });
    expect(await receive(idOf(reply))).toEqual({ email: [], sms: [] });
  });

  it('in the future changes nothing', async () => {
    const reply = await dispatch({ payload: 'Hello', user_ids: [1], expires_at: inHours(1) });

    expect(reply.body).toMatchObject({ status: 'completed', counts: { published: 1 } });
  });
});

describe('Prefer: wait', () => {
  const send = (prefer: string, body: object) => api.call('POST', '/notifications', body, { prefer });
  const soon = { payload: 'Hello', user_ids: [1] };

  it.each([
    ['wait=10', 'wait=10'],
    ['wait=9999', 'wait=30'],
    ['wait=999999999', 'wait=30'],
    ['respond-async, WAIT = "10"', 'wait=10'],
    ['handling=lenient; x=1, wait=10', 'wait=10'],
  ])('%s answers 200 with the dispatched notification', async (prefer, applied) => {
    const reply = await send(prefer, soon);

    expect(reply).toMatchObject({ status: 200, body: { status: 'completed', counts: { published: 1 } } });
    expect(reply.headers.get('preference-applied')).toBe(applied);
    expect(reply.headers.get('location')).toBe(`/notifications/${idOf(reply)}`);
  });

  it.each(['wait=0', 'wait=1'])('%s answers 202 when the time is up', async (prefer) => {
    const idle = await startTestService({ ROLE: 'api' });

    const reply = await call(idle, 'POST', '/notifications', soon, { prefer });
    await idle.stop();

    expect(reply).toMatchObject({ status: 202, body: { status: 'queued' } });
    expect(reply.headers.get('preference-applied')).toBe(prefer);
  });

  it('is not honoured when the notification is not even due by then', async () => {
    const start = performance.now();

    const reply = await send('wait=30', { ...soon, send_at: inHours(1) });

    expect(reply).toMatchObject({ status: 202, body: { status: 'scheduled' } });
    expect(reply.headers.get('preference-applied')).toBeNull();
    expect(performance.now() - start).toBeLessThan(15_000);
  });

  it('is not honoured for more callers than may wait at once, who are answered without', async () => {
    const idle = await startTestService({ ROLE: 'api' });
    const replies: Reply[] = [];
    const ask = async () => void replies.push(await call(idle, 'POST', '/notifications', soon, { prefer: 'wait=30' }));

    const asked = Promise.all(Array.from({ length: 205 }, ask));
    await expect.poll(() => replies.length, PATIENCE).toBe(5);
    const applied = replies.map(({ headers }) => headers.get('preference-applied'));
    const read = await call(idle, 'GET', '/notifications?limit=1');
    await idle.stop();
    await asked;

    expect(applied).toEqual([null, null, null, null, null]);
    expect(read.status).toBe(200);
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([202]));
    expect(replies.filter(({ headers }) => headers.get('preference-applied') === 'wait=30')).toHaveLength(200);
  });

  it.each(['wait', 'wait=', 'wait=soon', 'wait=-1', 'wait=1.5', 'await=5', 'respond-async', ';;,=', ''])(
    'is ignored when it reads %j',
    async (prefer) => {
      const reply = await send(prefer, soon);

      expect(reply.status).toBe(202);
      expect(reply.headers.get('preference-applied')).toBeNull();
    },
  );

  it('leaves nothing behind on its connection or in the process', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => void warnings.push(warning);
    process.on('warning', note);

    for (let n = 0; n < 12; n++) await send('wait=30', { payload: 'Hello', user_ids: [] });
    await Promise.all(Array.from({ length: 12 }, () => send('wait=30', { payload: 'Hello', user_ids: [] })));

    process.off('warning', note);
    expect(warnings).toEqual([]);
  });
});

describe('POST /notifications/{id}/cancel', () => {
  const schedule = (user_ids?: number[]) =>
    api.call('POST', '/notifications', { payload: 'Hello', user_ids, send_at: inHours(1) });

  it.each([
    { audience: 'users', user_ids: [1, 2, 99], count: 3 },
    { audience: 'everyone', user_ids: undefined, count: USERS.length },
  ])('ends a notification to $audience and accounts for all of them', async ({ user_ids, count }) => {
    const accepted = await schedule(user_ids);

    const reply = await api.call('POST', `/notifications/${idOf(accepted)}/cancel`);

    expect(reply).toMatchObject({
      status: 200,
      body: {
        ...{ status: 'canceled', progress: 1, completed_at: expect.any(String), audience: { count } },
        counts: { targeted: count, published: 0, pending: 0, suppressed: { ...NOBODY, canceled: count } },
      },
    });
    expect((await api.call('GET', `/notifications/${idOf(accepted)}`)).body).toEqual(reply.body);
  });

  it('changes nothing the second time', async () => {
    const path = `/notifications/${idOf(await schedule([1]))}/cancel`;

    const first = await api.call('POST', path);
    const second = await api.call('POST', `${path}/`);

    expect([second.status, second.body]).toEqual([200, first.body]);
  });

  it('may carry an empty JSON object', async () => {
    const path = `/notifications/${idOf(await schedule([1]))}/cancel`;

    expect((await api.call('POST', path, {})).status).toBe(200);
  });

  it.each([
    { state: 'completed', body: { payload: 'Hello', user_ids: [1] } },
    { state: 'expired', body: { payload: 'Hello', user_ids: [1], expires_at: '2020-01-01T00:00:00Z' } },
  ])('answers 409 for one that is $state', async ({ state, body }) => {
    const done = await dispatch(body);

    const reply = await api.call('POST', `/notifications/${idOf(done)}/cancel`);

    expect(reply).toMatchObject({
      status: 409,
      body: { code: 'illegal_transition', detail: expect.stringContaining(state) },
    });
    expect((await api.call('GET', `/notifications/${idOf(done)}`)).body).toEqual(done.body);
  });
});

describe('POST /notifications/{id}/pause and /resume', () => {
  const schedule = () => api.call('POST', '/notifications', { payload: 'Hello', send_at: inHours(1) });

  it('pause a notification, and let it go on', async () => {
    const scheduled = await schedule();
    const path = `/notifications/${idOf(scheduled)}`;

    const paused = await api.call('POST', `${path}/pause`);
    expect(paused).toMatchObject({ status: 200, body: { ...(scheduled.body as object), status: 'paused' } });
    expect((await api.call('GET', path)).body).toEqual(paused.body);

    const resumed = await api.call('POST', `${path}/resume`);
    expect(resumed).toMatchObject({ status: 200, body: scheduled.body as object });
    expect((await api.call('GET', path)).body).toEqual(scheduled.body);
  });

  it('change nothing the second time', async () => {
    const path = `/notifications/${idOf(await schedule())}`;

    for (const control of ['pause', 'resume']) {
      const first = await api.call('POST', `${path}/${control}`, {});
      const second = await api.call('POST', `${path}/${control}/`);

      expect([second.status, second.body]).toEqual([200, first.body]);
    }
  });

  it('leave one that is paused to be canceled', async () => {
    const path = `/notifications/${idOf(await schedule())}`;
    await api.call('POST', `${path}/pause`);

    const canceled = await api.call('POST', `${path}/cancel`);

    expect(canceled).toMatchObject({ status: 200, body: { status: 'canceled', counts: { pending: 0 } } });
  });

  it.each(['pause', 'resume'])('answer 409 to %s for one that has ended', async (control) => {
    const done = await dispatch({ payload: 'Hello', user_ids: [1] });

    const reply = await api.call('POST', `/notifications/${idOf(done)}/${control}`);

    expect(reply).toMatchObject({
      status: 409,
      body: { code: 'illegal_transition', detail: expect.stringContaining('completed') },
    });
  });
});

describe('GET /notifications/{id}/messages', () => {
  type Sent = { user_id: number; message_id: string; channels: string[]; published_at: string };

  it('lists whom a notification has told, with the messages that are in the queues', async () => {
    await receive('nothing of before');
    const path = `/notifications/${idOf(await dispatch({ payload: 'Hello' }))}/messages`;

    const { body } = await api.call('GET', path);

    const queued = await Promise.all(CHANNEL_NAMES.map((channel) => drainQueue(service.queueUrls[channel])));
    const ids = new Map(queued.flat().map(({ body: { data } }) => [data.recipients[0]?.user_id, data.notification_id]));
    const sent = body as Sent[];
    expect(sent.map(({ user_id, channels }) => ({ user_id, channels }))).toEqual([
      { user_id: 1, channels: ['email', 'sms'] },
      { user_id: 2, channels: ['email'] },
      { user_id: 6, channels: ['sms'] },
      { user_id: LAST_USER, channels: ['email', 'sms'] },
    ]);
    expect(new Set(sent.map(({ message_id }) => message_id)).size).toBe(4);
    expect([...ids.keys()].toSorted((a = 0, b = 0) => a - b)).toEqual(sent.map(({ user_id }) => user_id));
  });

  it('is walked to its end by its links, one row at a time', async () => {
    const path = `/notifications/${idOf(await dispatch({ payload: 'Hello' }))}/messages`;

    const { rows, pages } = await walkList(api, `${path}?limit=1`);

    expect((rows as Sent[]).map(({ user_id }) => user_id)).toEqual([1, 2, 6, LAST_USER]);
    expect(pages).toBe(5);
  });

  it('finds one user', async () => {
    const path = `/notifications/${idOf(await dispatch({ payload: 'Hello' }))}/messages`;

    expect((await api.call('GET', `${path}?user_id=6`)).body).toMatchObject([{ user_id: 6, channels: ['sms'] }]);
    expect((await api.call('GET', `${path}/?user_id=3`)).body).toEqual([]);
  });

  it('is empty while nobody is told', async () => {
    const { body } = await api.call('POST', '/notifications', { payload: 'Hello', send_at: inHours(1) });

    expect((await api.call('GET', `/notifications/${(body as Notification).id}/messages`)).body).toEqual([]);
  });

  it.each(['user_id=0', 'user_id=x', 'limit=0', 'cursor=-1', 'channel=email'])(
    'refuses %s, naming it',
    async (query) => {
      const { body } = await dispatch({ payload: 'Hello', user_ids: [] });

      const reply = await api.call('GET', `/notifications/${(body as Notification).id}/messages?${query}`);

      const pointer = `/${query.split('=')[0]}`;
      expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'query', pointer }] } });
    },
  );
});

describe('GET /notifications', () => {
  it('lists the newest first, to the end, whatever is accepted meanwhile', async () => {
    const sent: string[] = [];
    for (let n = 0; n < 25; n++) sent.unshift(idOf(await dispatch({ payload: `${n}`, user_ids: [] })));
    const newer: Promise<unknown>[] = [];
    const accepting = setInterval(() => newer.push(api.call('POST', '/notifications', { payload: 'newer' })), 10);

    const { rows } = await walkList(api, '/notifications?limit=20');

    clearInterval(accepting);
    await Promise.all(newer);
    const ids = (rows as Notification[]).map(({ id }) => id);
    expect(ids.filter((id) => sent.includes(id))).toEqual(sent);
    expect(ids).toEqual([...new Set(ids)].toSorted().toReversed());
  });

  it('shows each as it is shown alone', async () => {
    const alone = await dispatch({ payload: 'Hello', user_ids: [1, 3] });

    const { body } = await api.call('GET', '/notifications/?limit=1');

    expect(body).toEqual([alone.body]);
  });

  it('ends a page early when its payloads add up to more than 4 MiB', async () => {
    const payload = 'é'.repeat(100_000);
    const send_at = inHours(1);
    const sent: string[] = [];
    for (let n = 0; n < 45; n++) {
      sent.unshift(idOf(await api.call('POST', '/notifications', { payload, user_ids: [], send_at })));
    }

    const pages: string[][] = [];
    for (let next: string | undefined = '/notifications?status=scheduled&limit=1000'; next !== undefined; ) {
      const reply: Reply = await api.call('GET', next);
      pages.push((reply.body as Notification[]).map(({ id }) => id));
      next = /^<(\/.+)>; rel="next"$/.exec(reply.headers.get('link') ?? '')?.[1];
    }

    // 20 × 200,000 bytes, and not 21.
    expect(pages.slice(0, 2).map((ids) => ids.length)).toEqual([20, 20]);
    expect(pages.flat().slice(0, 45)).toEqual(sent);
    expect(pages.flat()).toEqual([...new Set(pages.flat())]);
  });

  it.each([
    ['scheduled', 1],
    ['queued', 0],
    ['dispatching', 0],
    ['paused', 1],
    ['completed', 1],
    ['canceled', 1],
    ['expired', 1],
  ])('lists those that are %s', async (status, atLeast) => {
    await dispatch({ payload: 'Hello', user_ids: [] });
    await dispatch({ payload: 'Hello', user_ids: [1], expires_at: '2020-01-01T00:00:00Z' });
    await api.call('POST', '/notifications', { payload: 'Hello', send_at: inHours(1) });
    for (const control of ['cancel', 'pause']) {
      const scheduled = await api.call('POST', '/notifications', { payload: 'Hello', send_at: inHours(1) });
      await api.call('POST', `/notifications/${idOf(scheduled)}/${control}`);
    }

    const { rows } = await walkList(api, `/notifications?status=${status}&limit=50`);

    expect(rows.length).toBeGreaterThanOrEqual(atLeast);
    expect((rows as Notification[]).filter((row) => row.status !== status)).toEqual([]);
  });

  it.each(['status=done', 'status=', 'limit=0', 'limit=1001', 'cursor=1', 'cursor=x', 'user_id=1'])(
    'refuses %s, naming it',
    async (query) => {
      const reply = await api.call('GET', `/notifications?${query}`);

      const pointer = `/${query.split('=')[0]}`;
      expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'query', pointer }] } });
    },
  );
});

describe('a path of notifications', () => {
  const unknownId = '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';

  it.each([
    ['PUT', '/notifications', 'GET, HEAD, POST'],
    ['DELETE', `/notifications/${unknownId}`, 'GET, HEAD'],
    ['POST', `/notifications/${unknownId}/messages`, 'GET, HEAD'],
    ['POST', `/notifications/${unknownId}/failures`, 'GET, HEAD'],
    ['GET', `/notifications/${unknownId}/retry`, 'POST'],
    ['GET', `/notifications/${unknownId}/cancel`, 'POST'],
    ['LOCK', `/notifications/${unknownId}/cancel`, 'POST'],
  ])('answers %s %s with 405 and what it allows', async (method, path, allow) => {
    const reply = await api.call(method, path);

    expect(reply).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } });
    expect(reply.headers.get('allow')).toBe(allow);
  });

  it.each([
    ['GET', '/notifications/:id'],
    ['GET', '/notifications/:id/messages'],
    ['GET', '/notifications/:id/failures'],
    ['POST', '/notifications/:id/cancel'],
    ['POST', '/notifications/:id/pause'],
    ['POST', '/notifications/:id/resume'],
    ['POST', '/notifications/:id/retry'],
  ])('answers %s %s with 404 for an unknown id and 400 for what is none', async (method, route) => {
    const unknown = await api.call(method, route.replace(':id', unknownId));
    const malformed = await api.call(method, route.replace(':id', `${unknownId}0`));

    expect(unknown).toMatchObject({ status: 404, body: { code: 'notification_not_found' } });
    expect(malformed).toMatchObject({ status: 400, body: { errors: [{ in: 'path', pointer: '/id' }] } });
  });

  it('takes an id in capitals for the same', async () => {
    const { body } = await dispatch({ payload: 'Hello', user_ids: [] });
    const capitals = (body as Notification).id.toUpperCase();

    expect((await api.call('GET', `/notifications/${capitals}`)).body).toEqual(body);
  });
});
