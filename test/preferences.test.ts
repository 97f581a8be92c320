import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Contract, countStatuses, openContract, SHARED_ANSWERS, walkList } from './support/contract.ts';
import { startTestService, type TestService } from './support/service.ts';

let service: TestService;
let api: Contract;

beforeAll(async () => {
  service = await startTestService();
  api = await openContract(service);
});

afterAll(() => service.stop());

/** Stores preferences for a user of whom a test wants to begin with some. */
const store = (user_id: number, email_enabled: boolean, sms_enabled: boolean) =>
  service.db.preference.create({ data: { user_id, email_enabled, sms_enabled } });

describe('the preferences routes', () => {
  it('give every answer that is documented, and no other', async () => {
    const contract = await openContract(service);
    const tooLarge = ' '.repeat(3 * 1024 * 1024);
    const xml = { 'content-type': 'application/xml' };
    await contract.call('POST', '/preferences', { user_id: 900 });
    await contract.call('POST', '/preferences', { user_id: 900 });
    await contract.call('PUT', '/preferences/901', {});
    await contract.call('PUT', '/preferences/901', {});
    await contract.call('PATCH', '/preferences/901', {});
    await contract.call('PATCH', '/preferences/902', {});
    await contract.call('GET', '/preferences');
    await contract.call('GET', '/preferences?limit=x');
    await contract.call('GET', '/preferences/901');
    await contract.call('GET', '/preferences/902');
    await contract.call('GET', '/preferences/x');
    await contract.call('DELETE', '/preferences/901');
    await contract.call('DELETE', '/preferences/901');
    for (const [method, path] of WITH_BODY) {
      await contract.call(method, path, '{');
      await contract.call(method, path, tooLarge);
      await contract.call(method, path, '<a/>', xml);
    }

    const unseen = contract.documented('Preferences').filter((answer) => !contract.seen.has(answer));

    // Imports have tests of their own.
    expect(unseen.filter((answer) => !SHARED_ANSWERS.test(answer) && !answer.includes('/import '))).toEqual([]);
  });
});

const WITH_BODY = [
  ['POST', '/preferences'],
  ['PUT', '/preferences/903'],
  ['PATCH', '/preferences/903'],
  ['DELETE', '/preferences/903'],
] as const;

describe('POST /preferences', () => {
  it('answers 201 with the preferences and their location', async () => {
    const reply = await api.call('POST', '/preferences', { user_id: 1, email_enabled: true, sms_enabled: false });

    expect(reply.status).toBe(201);
    expect(reply.headers.get('location')).toBe('/preferences/1');
    expect(reply.body).toEqual({ user_id: 1, email_enabled: true, sms_enabled: false });
    expect((await api.call('GET', '/preferences/1')).body).toEqual(reply.body);
  });

  it('takes a channel that is absent as off', async () => {
    const reply = await api.call('POST', '/preferences', { user_id: 2 });

    expect(reply.body).toEqual({ user_id: 2, email_enabled: false, sms_enabled: false });
  });

  it('answers 409 and changes nothing when there are some already', async () => {
    await store(3, true, false);

    const reply = await api.call('POST', '/preferences', { user_id: 3, sms_enabled: true });

    expect(reply).toMatchObject({ status: 409, body: { code: 'preference_exists' } });
    expect((await api.call('GET', '/preferences/3')).body).toMatchObject({ email_enabled: true, sms_enabled: false });
  });

  it('creates once when many ask at once', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => api.call('POST', '/preferences', { user_id: 4 })),
    );

    expect(countStatuses(replies)).toEqual({ 201: 1, 409: 19 });
  });
});

describe('PUT /preferences/{user_id}', () => {
  it('answers 201 with the location when it creates, and 200 when it replaces', async () => {
    const created = await api.call('PUT', '/preferences/10', { email_enabled: true, sms_enabled: true });
    const replaced = await api.call('PUT', '/preferences/10', { sms_enabled: true });

    expect([created.status, created.headers.get('location')]).toEqual([201, '/preferences/10']);
    expect([replaced.status, replaced.headers.get('location')]).toEqual([200, null]);
    expect(replaced.body).toEqual({ user_id: 10, email_enabled: false, sms_enabled: true });
    expect((await api.call('GET', '/preferences/10')).body).toEqual(replaced.body);
  });

  it('takes back what GET gave', async () => {
    await store(11, true, false);
    const { body } = await api.call('GET', '/preferences/11');

    const reply = await api.call('PUT', '/preferences/11', body);

    expect([reply.status, reply.body]).toEqual([200, body]);
  });

  it('refuses a user_id in the body that is not the one in the path', async () => {
    const reply = await api.call('PUT', '/preferences/12', { user_id: 13 });

    expect(reply).toMatchObject({
      status: 400,
      body: { code: 'validation_failed', errors: [{ in: 'body', pointer: '/user_id' }] },
    });
    expect((await api.call('GET', '/preferences/12')).status).toBe(404);
  });

  it('creates once when many ask at once', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => api.call('PUT', '/preferences/14', {})));

    expect(countStatuses(replies)).toEqual({ 200: 19, 201: 1 });
  });
});

describe('PATCH /preferences/{user_id}', () => {
  it('changes what is given and leaves what is absent', async () => {
    await store(20, true, false);

    const reply = await api.call('PATCH', '/preferences/20', { sms_enabled: true });

    expect(reply).toMatchObject({ status: 200, body: { user_id: 20, email_enabled: true, sms_enabled: true } });
  });

  it('changes nothing when nothing is given', async () => {
    await store(21, true, false);

    const reply = await api.call('PATCH', '/preferences/21', {});

    expect(reply).toMatchObject({ status: 200, body: { user_id: 21, email_enabled: true, sms_enabled: false } });
  });

  it('takes null for a mistake, not for absent', async () => {
    await store(22, true, true);

    const reply = await api.call('PATCH', '/preferences/22', { email_enabled: null });

    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'body', pointer: '/email_enabled' }] } });
    expect((await api.call('GET', '/preferences/22')).body).toMatchObject({ email_enabled: true });
  });

  it('cannot move preferences to another user', async () => {
    await store(23, true, true);

    expect((await api.call('PATCH', '/preferences/23', { user_id: 24 })).status).toBe(400);
  });
});

describe('DELETE /preferences/{user_id}', () => {
  it('answers 204 once and 404 from then on', async () => {
    await store(30, true, true);

    expect((await api.call('DELETE', '/preferences/30')).status).toBe(204);
    expect((await api.call('DELETE', '/preferences/30')).body).toMatchObject({ code: 'preference_not_found' });
    expect((await api.call('GET', '/preferences/30')).body).toMatchObject({ code: 'preference_not_found' });
  });
});

describe('a path of preferences', () => {
  it('may end in a slash', async () => {
    expect((await api.call('POST', '/preferences/', { user_id: 40 })).status).toBe(201);
    expect((await api.call('GET', '/preferences/40/')).status).toBe(200);
    expect((await api.call('PUT', '/preferences/40/', {})).status).toBe(200);
    expect((await api.call('PATCH', '/preferences/40/', {})).status).toBe(200);
    expect((await api.call('DELETE', '/preferences/40/')).status).toBe(204);
    expect((await api.call('GET', '/preferences/?limit=1')).status).toBe(200);
  });

  it.each([
    ['PUT', '/preferences', 'GET, HEAD, POST'],
    ['DELETE', '/preferences/', 'GET, HEAD, POST'],
    ['OPTIONS', '/preferences', 'GET, HEAD, POST'],
    ['POST', '/preferences/1', 'DELETE, GET, HEAD, PATCH, PUT'],
    ['PROPFIND', '/preferences/1', 'DELETE, GET, HEAD, PATCH, PUT'],
    ['QUERY', '/preferences/1', 'DELETE, GET, HEAD, PATCH, PUT'],
  ])('answers %s %s with 405 and what it allows', async (method, path, allow) => {
    const reply = await api.call(method, path);

    expect(reply).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } });
    expect(reply.headers.get('allow')).toBe(allow);
  });

  it.each(['0', '-1', '1.0', '1e3', '+1', '%201', '0x1', 'x', '2147483648', '99999999999999999999', 'null'])(
    'refuses %s for a user id, naming it',
    async (id) => {
      const reply = await api.call('GET', `/preferences/${id}`);

      expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'path', pointer: '/user_id' }] } });
    },
  );

  it('takes the largest user id there is', async () => {
    expect((await api.call('PUT', '/preferences/2147483647', {})).status).toBe(201);
    expect((await api.call('GET', '/preferences/2147483647')).status).toBe(200);
  });
});

describe('GET /preferences', () => {
  const first = 100_000;

  beforeAll(async () => {
    const user_ids = Array.from({ length: 250 }, (_, n) => first + n * 3);
    // Stored in another order than listed.
    for (const user_id of user_ids.toReversed()) await store(user_id, true, false);
  });

  it('lists 100 unless told, in the order of user ids', async () => {
    const { body } = await api.call('GET', `/preferences?cursor=${first - 1}`);

    const ids = (body as { user_id: number }[]).map(({ user_id }) => user_id);
    expect(ids).toEqual(Array.from({ length: 100 }, (_, n) => first + n * 3));
  });

  it('is walked to its end by its links, without loss or doubles, whatever is written meanwhile', async () => {
    const writes: Promise<unknown>[] = [];
    const writing = setInterval(() => {
      // Behind the cursor and ahead of it.
      const step = 3 * (writes.length / 2);
      writes.push(store(first + 1 + step, false, false), store(first + 740 - step, false, false));
    }, 5);

    const { rows, pages } = await walkList(api, `/preferences?limit=20&cursor=${first - 1}`);

    clearInterval(writing);
    await Promise.all(writes);
    const ids = (rows as { user_id: number }[]).map(({ user_id }) => user_id);
    expect(pages).toBeGreaterThan(12);
    expect(writes.length).toBeGreaterThan(0);
    expect(ids).toEqual([...new Set(ids)].toSorted((a, b) => a - b));
    expect(ids.filter((id) => (id - first) % 3 === 0 && id < first + 750)).toEqual(
      Array.from({ length: 250 }, (_, n) => first + n * 3),
    );
  });

  it('has no next page behind its end', async () => {
    const { body, headers } = await api.call('GET', '/preferences?cursor=2147483647');

    expect([body, headers.get('link')]).toEqual([[], null]);
  });

  it.each([
    ['limit', ['0', '1001', '-1', '1.5', '1e2', '', '%2B5', 'all', '5&limit=6']],
    ['cursor', ['-1', '2147483648', 'x', '']],
  ])('refuses a wrong %s, naming it', async (name, values) => {
    for (const value of values) {
      const reply = await api.call('GET', `/preferences?${name}=${value}`);

      expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'query', pointer: `/${name}` }] } });
    }
  });

  it('refuses a parameter it does not know, naming it', async () => {
    const reply = await api.call('GET', '/preferences?limits=5');

    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'query', pointer: '/limits' }] } });
  });
});
