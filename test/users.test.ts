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

const ada = { email: 'ada@example.com', phone: '+15550000042' };

describe('the users routes', () => {
  it('give every answer that is documented, and no other', async () => {
    const contract = await openContract(service);
    await contract.call('PUT', '/users/901', ada);
    await contract.call('PUT', '/users/901', ada);
    await contract.call('GET', '/users');
    await contract.call('GET', '/users?cursor=x');
    await contract.call('GET', '/users/901');
    await contract.call('GET', '/users/902');
    await contract.call('GET', '/users/x');
    await contract.call('DELETE', '/users/901');
    await contract.call('DELETE', '/users/901');
    for (const method of ['PUT', 'DELETE']) {
      await contract.call(method, '/users/903', '{');
      await contract.call(method, '/users/903', ' '.repeat(3 * 1024 * 1024));
      await contract.call(method, '/users/903', 'email=', { 'content-type': 'application/x-www-form-urlencoded' });
    }

    const unseen = contract.documented('Users').filter((answer) => !contract.seen.has(answer));

    // Imports have tests of their own.
    expect(unseen.filter((answer) => !SHARED_ANSWERS.test(answer) && !answer.includes('/import '))).toEqual([]);
  });
});

describe('PUT /users/{user_id}', () => {
  it('answers 201 with the location when it creates, and 200 when it replaces', async () => {
    const created = await api.call('PUT', '/users/1', ada);
    const replaced = await api.call('PUT', '/users/1', { email: 'countess@example.com' });

    expect([created.status, created.headers.get('location')]).toEqual([201, '/users/1']);
    expect(created.body).toEqual({ user_id: 1, ...ada });
    expect([replaced.status, replaced.headers.get('location')]).toEqual([200, null]);
    expect(replaced.body).toEqual({ user_id: 1, email: 'countess@example.com', phone: null });
    expect((await api.call('GET', '/users/1')).body).toEqual(replaced.body);
  });

  it('stores a user without any address', async () => {
    const reply = await api.call('PUT', '/users/2', { email: null });

    expect([reply.status, reply.body]).toEqual([201, { user_id: 2, email: null, phone: null }]);
  });

  it('takes back what GET gave', async () => {
    await api.call('PUT', '/users/3', ada);
    const { body } = await api.call('GET', '/users/3');

    const reply = await api.call('PUT', '/users/3', body);

    expect([reply.status, reply.body]).toEqual([200, body]);
  });

  it('refuses a user_id in the body that is not the one in the path', async () => {
    const reply = await api.call('PUT', '/users/4', { user_id: 5 });

    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'body', pointer: '/user_id' }] } });
    expect((await api.call('GET', '/users/4')).status).toBe(404);
  });

  it('creates once when many ask at once', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => api.call('PUT', '/users/6', ada)));

    expect(countStatuses(replies)).toEqual({ 200: 19, 201: 1 });
  });

  it.each([
    `${'a'.repeat(64)}@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(59)}.example`,
    "o'hara+news@example.co.uk",
  ])('takes the e-mail address %s', async (email) => {
    expect((await api.call('PUT', '/users/7', { email })).body).toMatchObject({ email });
  });

  it.each([
    ['email', ''],
    ['email', 'ada'],
    ['email', 'ada@'],
    ['email', 'ada@example.com\n'],
    ['email', 'ada@example.com, eve@example.com'],
    ['email', `${'a'.repeat(243)}@example.com`],
    ['email', 'a\u0000@example.com'],
    ['email', 42],
    ['phone', ''],
    ['phone', '5550000042'],
    ['phone', '+0550000042'],
    ['phone', '+1 555 0000042'],
    ['phone', '+1234567890123456'],
    ['phone', 15550000042],
  ])('refuses the %s %j, naming it', async (name, value) => {
    const reply = await api.call('PUT', '/users/8', { [name]: value });

    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'body', pointer: `/${name}` }] } });
  });
});

describe('DELETE /users/{user_id}', () => {
  it('erases the user together with their preferences', async () => {
    await api.call('PUT', '/users/10', ada);
    await api.call('PUT', '/preferences/10', { email_enabled: true });

    const reply = await api.call('DELETE', '/users/10');

    expect(reply.status).toBe(204);
    expect((await api.call('GET', '/users/10')).body).toMatchObject({ code: 'user_not_found' });
    expect((await api.call('GET', '/preferences/10')).body).toMatchObject({ code: 'preference_not_found' });
  });

  it('answers 404 for a user who is not there', async () => {
    expect((await api.call('DELETE', '/users/11')).body).toMatchObject({ code: 'user_not_found' });
  });

  it('erases once when many ask at once', async () => {
    await api.call('PUT', '/users/12', ada);

    const replies = await Promise.all(Array.from({ length: 10 }, () => api.call('DELETE', '/users/12')));

    expect(countStatuses(replies)).toEqual({ 204: 1, 404: 9 });
  });
});

describe('a path of users', () => {
  it('may end in a slash', async () => {
    expect((await api.call('PUT', '/users/20/', {})).status).toBe(201);
    expect((await api.call('GET', '/users/20/')).status).toBe(200);
    expect((await api.call('GET', '/users/?limit=1')).status).toBe(200);
    expect((await api.call('DELETE', '/users/20/')).status).toBe(204);
  });

  it.each([
    ['POST', '/users', 'GET, HEAD'],
    ['POST', '/users/1', 'DELETE, GET, HEAD, PUT'],
    ['PATCH', '/users/1', 'DELETE, GET, HEAD, PUT'],
    ['MKCALENDAR', '/users/1', 'DELETE, GET, HEAD, PUT'],
  ])('answers %s %s with 405 and what it allows', async (method, path, allow) => {
    const reply = await api.call(method, path, method === 'POST' ? {} : undefined);

    expect(reply).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } });
    expect(reply.headers.get('allow')).toBe(allow);
  });
});

describe('GET /users', () => {
  const first = 100_000;

  beforeAll(async () => {
    const data = Array.from({ length: 250 }, (_, n) => ({ user_id: first + n, email: `user${n}@example.com` }));
    await service.db.user.createMany({ data: data.toReversed() });
  });

  it.each([
    [`/users?cursor=${first - 1}`, 3],
    [`/users?cursor=${first - 1}&limit=125`, 3],
    [`/users/?limit=33&cursor=${first - 1}`, 8],
    [`/users?cursor=${first - 1}&limit=1000`, 1],
  ])('is walked to its end from %s, without loss or doubles', async (path, expectedPages) => {
    const { rows, pages } = await walkList(api, path);

    const ids = (rows as { user_id: number }[]).map(({ user_id }) => user_id);
    expect(ids).toEqual(Array.from({ length: 250 }, (_, n) => first + n));
    expect(pages).toBe(expectedPages);
  });

  it('goes on behind a user who was erased meanwhile', async () => {
    await service.db.user.create({ data: { user_id: 200_000 } });
    await api.call('DELETE', '/users/200000');

    const { body } = await api.call('GET', '/users?cursor=200000');

    expect(body).toEqual([]);
  });

  it.each(['limit=0', 'limit=1001', 'cursor=-1', 'cursor=x', 'email=a'])('refuses %s, naming it', async (query) => {
    const reply = await api.call('GET', `/users?${query}`);

    const pointer = `/${query.split('=')[0]}`;
    expect(reply).toMatchObject({ status: 400, body: { errors: [{ in: 'query', pointer }] } });
  });
});
