import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { rotateApiKey } from '../src/auth/api-keys.ts';
import { SCOPE_NAMES, type Scope } from '../src/auth/principal.ts';
import { messageSchema } from '../src/notifications/message.ts';
import { bearer, createTestKey, type Issuer, startGuardedService, startIssuer } from './support/auth.ts';
import { openContract, walkList } from './support/contract.ts';
import { addUsers, createDeps, dispatchAll } from './support/dispatch.ts';
import { listOperations, type Operation } from './support/operations.ts';
import { readRows } from './support/rows.ts';
import { findSample, MISSING_NOTIFICATION, SAMPLE_NOTIFICATION } from './support/samples.ts';
import { call, type Reply, startTestService, type TestService } from './support/service.ts';
import { startSink } from './support/sink.ts';

type Notification = { id: string; status: string };

/** What reaches beyond one's own notifications. */
const EVERYONES: Scope[] = ['notifications:read:all', 'notifications:control'];
const OWN = SCOPE_NAMES.filter((name) => !EVERYONES.includes(name));
/** So far away that nothing is dispatched meanwhile. */
const LATER = '2999-01-01T00:00:00Z';

let service: TestService & { key: string };
let issuer: Issuer;
let operations: Operation[];
let billing: Caller;
let support: Caller;

/** Calls the service with the credentials of one caller. */
type Caller = (
  method: string,
  path: string,
  body?: object | string,
  headers?: Record<string, string>,
) => Promise<Reply>;

const callerBy =
  (credentials: string): Caller =>
  (method, path, body, headers = {}) =>
    call(service, method, path, body, { ...bearer(credentials), ...headers });

/** A new caller with a key of these scopes. */
const createCaller = async (name: string, scopes: Scope[] = OWN) =>
  callerBy(await createTestKey(service.db, { name, scopes }));

beforeAll(async () => {
  issuer = await startIssuer();
  // Limits are on, so that their headers are compared, too. The tests dispatch by themselves.
  service = await startGuardedService({ ...issuer.env, ROLE: 'api', RATE_LIMIT_PER_PRINCIPAL: '100000' });
  operations = await listOperations(service);
  [billing, support] = [await createCaller('billing'), await createCaller('support')];
  await addUsers(service.db, [1, 2], ['email', 'sms']);
});

afterAll(() => Promise.all([service.stop(), issuer.stop()]));

beforeEach(async () => {
  await service.db.notification.deleteMany();
});

const idOf = ({ body }: Reply) => (body as Notification).id;

/** Sends a notification, for later unless the test says otherwise, and returns its id. */
async function send(caller: Caller, more: object = { send_at: LATER }): Promise<string> {
  const reply = await caller('POST', '/notifications', { payload: 'Hello', user_ids: [1], ...more });
  expect(reply.status).toBe(202);
  return idOf(reply);
}

/** The ids that a caller sees in a list. */
async function list(caller: Caller, query = ''): Promise<string[]> {
  const reply = await caller('GET', `/notifications${query}`);
  expect(reply.status).toBe(200);
  return (reply.body as Notification[]).map(({ id }) => id);
}

/** A reply without what differs from one request to the next, whoever asks for whatever. */
function comparable({ status, headers, text }: Reply) {
  const id = headers.get('x-request-id') ?? '';
  const kept = [...headers].filter(([name]) => !/^(x-request-id|date|ratelimit-(remaining|reset))$/.test(name));
  return { status, headers: kept, text: text.replaceAll(`/requests/${id}`, '') };
}

describe('a notification of somebody else', () => {
  it('is answered like one that does not exist, byte for byte, by every call of it', async () => {
    const id = await send(billing);
    const before = await readRows(service.db);
    const calls = operations
      .filter(({ template }) => template.startsWith('/notifications/{id}'))
      .flatMap((operation) =>
        [operation.method, ...(operation.method === 'GET' && !operation.isStream ? ['HEAD'] : [])].map((method) => ({
          method,
          ...findSample(operation),
        })),
      );

    for (const { method, path, body } of calls) {
      const foreign = await support(method, path.replace(SAMPLE_NOTIFICATION, id), body);
      const missing = await support(method, path.replace(SAMPLE_NOTIFICATION, MISSING_NOTIFICATION), body);
      expect(foreign.status, `${method} ${path}`).toBe(404);
      expect(comparable(foreign), `${method} ${path}`).toEqual(comparable(missing));
    }

    expect(await readRows(service.db)).toEqual(before);
    expect(calls.length).toBeGreaterThanOrEqual(5);
  });

  it.each([
    ['notifications:send', 'notifications:read:all'],
    ['notifications:broadcast', 'notifications:read:all'],
    ['notifications:control', 'notifications:read'],
    ['notifications:control', 'notifications:send'],
  ] as const)('is not canceled, nor shown by that, with %s and %s', async (...scopes) => {
    const id = await send(billing);
    const other = await createCaller(randomUUID(), [...scopes]);

    const foreign = await other('POST', `/notifications/${id}/cancel`);
    const missing = await other('POST', `/notifications/${MISSING_NOTIFICATION}/cancel`);

    expect(foreign).toMatchObject({ status: 404, body: { code: 'notification_not_found' } });
    expect(comparable(foreign)).toEqual(comparable(missing));
    expect((await billing('GET', `/notifications/${id}`)).body).toMatchObject({ status: 'scheduled' });
  });

  it('is canceled with notifications:control by who may read it', async () => {
    const id = await send(billing);
    const controller = await createCaller(randomUUID(), ['notifications:control', 'notifications:read:all']);

    const canceled = await controller('POST', `/notifications/${id}/cancel`);

    expect(canceled).toMatchObject({ status: 200, body: { id, status: 'canceled' } });
    expect((await billing('GET', `/notifications/${id}`)).body).toMatchObject({ status: 'canceled' });
  });

  it('is read with notifications:read:all, alone and in lists', async () => {
    const ids = [await send(support), await send(billing)];
    const reader = await createCaller(randomUUID(), ['notifications:read:all']);

    const listed = await list(reader);
    const read = await Promise.all(ids.map((id) => reader('GET', `/notifications/${id}`)));
    const lists = await Promise.all(
      ids.flatMap((id) => ['messages', 'failures'].map((part) => reader('GET', `/notifications/${id}/${part}`))),
    );

    expect(listed).toEqual(ids.toReversed());
    expect(new Set([...read, ...lists].map(({ status }) => status))).toEqual(new Set([200]));
  });
});

describe('a list of notifications', () => {
  it('has one’s own only, whatever the filter', async () => {
    const [mine, theirs] = [await send(billing), await send(support)];
    const canceled = await send(billing);
    await billing('POST', `/notifications/${canceled}/cancel`);

    expect(await list(billing)).toEqual([canceled, mine]);
    expect(await list(support)).toEqual([theirs]);
    expect(await list(billing, '?status=scheduled')).toEqual([mine]);
    expect(await list(support, '?status=scheduled')).toEqual([theirs]);
    expect(await list(support, '?status=canceled')).toEqual([]);
  });

  it('has one’s own only on every page, also from behind a notification of somebody else', async () => {
    const mine: string[] = [];
    let theirs = '';
    for (let round = 0; round < 5; round++) {
      mine.unshift(await send(billing));
      theirs = await send(support);
    }
    const contract = await openContract(service);
    const key = await createTestKey(service.db, { name: 'pager', scopes: OWN });
    const pager = {
      ...contract,
      call: (method: string, path: string) => contract.call(method, path, undefined, bearer(key)),
    };
    await service.db.notification.updateMany({
      where: { created_by: 'key:billing' },
      data: { created_by: 'key:pager' },
    });

    const all = await walkList(pager, '/notifications?limit=2');
    const filtered = await walkList(pager, '/notifications?limit=1&status=scheduled');

    expect((all.rows as Notification[]).map(({ id }) => id)).toEqual(mine);
    expect((filtered.rows as Notification[]).map(({ id }) => id)).toEqual(mine);
    expect(await list(callerBy(key), `?cursor=${theirs}`)).toEqual(mine);
  });
});

describe('an idempotency key', () => {
  it('belongs to the caller: two callers with the same one send two notifications', async () => {
    const keyed = { 'idempotency-key': 'statement 42' };
    const body = { payload: 'Hello', user_ids: [1], send_at: LATER };

    const mine = await billing('POST', '/notifications', body, keyed);
    const theirs = await support('POST', '/notifications', body, keyed);
    const other = await support('POST', '/notifications', { ...body, payload: 'Other' }, keyed);
    const again = await billing('POST', '/notifications', body, keyed);

    expect([mine, theirs, other, again].map(({ status }) => status)).toEqual([202, 202, 422, 202]);
    expect(theirs.headers.get('idempotency-replayed')).toBeNull();
    expect(idOf(theirs)).not.toBe(idOf(mine));
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(idOf(again)).toBe(idOf(mine));
  });
});

describe('a caller', () => {
  it('stays the same when their key is rotated', async () => {
    const old = await createTestKey(service.db, { name: 'rotating', scopes: OWN });
    const id = await send(callerBy(old));
    const rotated = await rotateApiKey(service.db, { name: 'rotating', overlapSeconds: 60, expiresInSeconds: null });

    const read = await callerBy(rotated ?? '')('GET', `/notifications/${id}`);

    expect(read).toMatchObject({ status: 200, body: { id } });
    expect(await list(callerBy(rotated ?? ''))).toEqual([id]);
    expect(rotated).not.toBe(old);
  });

  it.each(['billing', 'key:billing'])('with a JWT is not the one with a key, for the subject %s', async (sub) => {
    const token = callerBy(await issuer.sign({ sub, scope: OWN.join(' ') }));
    const keyed = { 'idempotency-key': randomUUID() };
    const body = { payload: 'Hello', user_ids: [1], send_at: LATER };

    const [byKey, byToken] = [
      await billing('POST', '/notifications', body, keyed),
      await token('POST', '/notifications', body, keyed),
    ];

    expect(idOf(byToken)).not.toBe(idOf(byKey));
    expect((await token('GET', `/notifications/${idOf(byKey)}`)).status).toBe(404);
    expect((await billing('GET', `/notifications/${idOf(byToken)}`)).status).toBe(404);
    expect(await list(token)).toEqual([idOf(byToken)]);
  });

  it('is the message group of what they send, and named in the audit log', async () => {
    const sink = await startSink();
    const token = callerBy(await issuer.sign({ sub: 'payroll', scope: OWN.join(' ') }));
    const [mine, theirs] = [await send(billing, {}), await send(token, {})];

    await dispatchAll(createDeps({ db: service.db, sns: sink.connect() }));
    const groups = sink.accepted.map(
      ({ body, groupId }) => `${messageSchema.parse(JSON.parse(body)).data.notification_id} ${groupId}`,
    );
    const entries = await service.db.auditEntry.findMany({
      where: { object: { in: [`notifications/${mine}`, `notifications/${theirs}`] } },
      orderBy: { id: 'asc' },
    });

    expect(groups).toHaveLength(2);
    expect(groups).toEqual(expect.arrayContaining([`${mine} key:billing`, `${theirs} jwt:payroll`]));
    expect(entries.map(({ object, principal, action }) => [object, principal, action])).toEqual([
      [`notifications/${mine}`, 'key:billing', 'notification.send'],
      [`notifications/${theirs}`, 'jwt:payroll', 'notification.send'],
    ]);
  });
});

describe('a service without authentication', () => {
  it('shows and cancels everything, and is itself one caller: anonymous', async () => {
    const id = await send(billing);
    const open = await startTestService({ DATABASE_URL: service.config.DATABASE_URL, ROLE: 'api' });
    const body = { payload: 'Hello', user_ids: [1], send_at: LATER };

    const own = await call(open, 'POST', '/notifications', body, bearer('nk_x'));
    const listed = await call(open, 'GET', '/notifications');
    const canceled = await call(open, 'POST', `/notifications/${id}/cancel`);
    await open.stop();

    const { created_by } = await service.db.notification.findUniqueOrThrow({ where: { id: idOf(own) } });
    expect(created_by).toBe('anonymous');
    expect((listed.body as Notification[]).map((shown) => shown.id)).toEqual([idOf(own), id]);
    expect(canceled).toMatchObject({ status: 200, body: { status: 'canceled' } });
    expect((await billing('GET', `/notifications/${idOf(own)}`)).status).toBe(404);
  });
});
