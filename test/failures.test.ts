import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Database } from '../src/database.ts';
import { type DispatcherDeps, dispatchNext, runDispatcher } from '../src/notifications/dispatcher.ts';
import { listFailures } from '../src/notifications/failures.ts';
import { composeMessages, messageSchema } from '../src/notifications/message.ts';
import { type ClaimedPage, cutPage, reclaimPage, settlePage } from '../src/notifications/pages.ts';
import { resolveRecipients } from '../src/notifications/recipients.ts';
import { describeRefusal } from '../src/notifications/refusal.ts';
import { reopenPage } from '../src/notifications/retry.ts';
import {
  controlNotification,
  getNotification,
  listSentMessages,
  retryNotification,
} from '../src/notifications/service.ts';
import { tallyPage } from '../src/notifications/tally.ts';
import { startTestApp } from './support/app.ts';
import { type Contract, openContract, walkList } from './support/contract.ts';
import {
  ACTOR,
  accept,
  addUsers,
  CALLER,
  createDeps,
  dispatchAll,
  emptyDatabase,
  eventually,
  expireLeases,
  openTestDatabase,
  range,
  readCounts,
  UNSTOPPED,
  untilEnded,
} from './support/dispatch.ts';
import { type Sink, startSink } from './support/sink.ts';

/** Small, so that a few users make many pages. */
const PAGE_USERS = 3;
/** Enough for every page under way to be answered. */
const GRACE_MS = 10_000;
const EVERYTHING = { limit: 1_000, cursor: 0 };

let connect: (poolMax?: number) => Database;
let db: Database;
let sink: Sink;
let deps: DispatcherDeps;

beforeAll(async () => {
  connect = await openTestDatabase();
});

beforeEach(async () => {
  db = connect();
  await emptyDatabase(db);
  sink = await startSink();
  deps = createDeps({ db, sns: sink.connect() }, { pageUsers: PAGE_USERS });
});

const recipientsOf = (body: string) =>
  messageSchema.parse(JSON.parse(body)).data.recipients.map(({ user_id }) => user_id);

/** Whom SNS has taken messages for, from the lowest id on. */
const told = () => sink.accepted.flatMap(({ body }) => recipientsOf(body)).toSorted((a, b) => a - b);

/** The dedup keys of what SNS has taken, one per user and channel. */
const dedupKeys = () =>
  sink.accepted.flatMap(({ body, attributes }) => {
    const { notification_id } = messageSchema.parse(JSON.parse(body)).data;
    return recipientsOf(body).flatMap((user) =>
      Object.keys(attributes).map((channel) => `${notification_id} ${user} ${channel}`),
    );
  });

/** SNS refuses every message that is for one of these users, and takes all others. */
const refuse = (users: number[], reason = 'the reason') =>
  sink.answer(() => ({
    fail: ({ body }) =>
      recipientsOf(body).some((user) => users.includes(user))
        ? { code: 'InvalidParameter', reason, senderFault: true }
        : undefined,
  }));

const retry = (id: string) => retryNotification(db, { id, owner: null, actor: ACTOR });

const control = (verb: 'cancel' | 'pause' | 'resume', id: string) =>
  controlNotification(db, verb, { id, owner: null, actor: ACTOR });

const readFailed = async (id: string) => (await listFailures(db, id, null, EVERYTHING)).map(({ user_id }) => user_id);

/** A completed notification of which SNS has refused the messages to some. From then on SNS takes all. */
async function completeWithFailures(failing: number[], users: number[], input: Parameters<typeof accept>[1] = {}) {
  await addUsers(db, users, ['email', 'sms']);
  const id = await accept(db, input);
  refuse(failing);
  await dispatchAll(deps);
  sink.answer(() => ({}));
  expect(await getNotification(db, id, null)).toMatchObject({
    status: 'completed',
    counts: { failed: failing.length },
  });
  sink.accepted.length = 0;
  return id;
}

/** Reopens the next page of a retry, as a process would that dies before it settles it. */
async function reopen(id: string): Promise<ClaimedPage> {
  const page = await reopenPage(db, id, 60);
  if (page === null) throw new Error('There is no page to reopen.');
  return page;
}

/** Publishes a claimed page and returns its result, unsettled. */
async function publishUnsettled(page: ClaimedPage) {
  const resolved = await resolveRecipients(db, page);
  const messages = composeMessages(page, resolved.recipients, 1);
  return tallyPage(resolved, messages, await deps.publisher.publish(messages, UNSTOPPED));
}

const passExpiry = (id: string) =>
  db.$executeRaw`update notifications set expires_at = now() - interval '1 second' where id = ${id}::uuid`;

const readAudit = (id: string) =>
  db.auditEntry.findMany({
    where: { object: `notifications/${id}`, action: 'notification.retry' },
    orderBy: { id: 'asc' },
    select: { principal: true, outcome: true },
  });

describe('whom SNS has refused', () => {
  it('are listed with its code and its reason, by user id', async () => {
    const id = await completeWithFailures([2, 5, 6], range(1, 10));

    expect(await listFailures(db, id, null, EVERYTHING)).toEqual(
      [2, 5, 6].map((user_id) => ({ user_id, code: 'InvalidParameter', reason: 'the reason' })),
    );
  });

  it('are listed within pages of the dispatch and across them, from behind a cursor and up to a limit', async () => {
    const failing = [1, 3, 4, 8, 9, 10];
    const id = await completeWithFailures(failing, range(1, 10));

    for (const cursor of range(0, 10)) {
      for (const limit of [1, 2, 10]) {
        const listed = await listFailures(db, id, null, { cursor, limit });
        const expected = failing.filter((user) => user > cursor).slice(0, limit);
        expect({ cursor, limit, listed: listed.map(({ user_id }) => user_id) }).toEqual({
          ...{ cursor, limit },
          listed: expected,
        });
      }
    }
  });

  it('are listed while others are yet to be told', async () => {
    await addUsers(db, range(1, 6));
    const id = await accept(db);
    refuse([2]);

    await dispatchNext(deps, UNSTOPPED);

    expect(await readFailed(id)).toEqual([2]);
    expect(await readCounts(db, id)).toMatchObject({ published: 2, failed: 1 });
  });

  it('are kept without the addresses that SNS may quote', async () => {
    await addUsers(db, [42], ['email', 'sms']);
    const id = await accept(db);
    refuse([42], 'Bad message: {"email":"user42@example.com","sms":"+15551000042"}, said user42@example.com');

    await dispatchAll(deps);

    const [row] = await db.$queryRaw<{ stored: string }[]>`select failures::text as stored from pages`;
    expect(row?.stored).not.toMatch(/example|1000042/);
    expect(await listFailures(db, id, null, EVERYTHING)).toMatchObject([
      { reason: expect.stringMatching(/^Bad message: .*\[hidden\].*\[hidden\].*said \[hidden\]$/) },
    ]);
  });
});

describe('the reason of a refusal', () => {
  it.each([
    ['Invalid parameter: Message too long', 'Invalid parameter: Message too long'],
    ['a limit of 262144 bytes', 'a limit of 262144 bytes'],
    ["to o'hara+x@mail.example.com.", 'to [hidden]'],
    ['to "ada@example.com" <bob@example.com>', 'to "[hidden]" <[hidden]>'],
    ['to ada%40example.com', 'to [hidden]'],
    ['to +15550000042, 15550000043', 'to [hidden], [hidden]'],
    ['sms:+15550000042', 'sms:[hidden]'],
    ['two\r\nlines\0 \ud800end\u001b[31m', 'two lines end [31m'],
  ])('is kept of %j as %j', (given, kept) => {
    expect(describeRefusal('Code', given).reason.replaceAll(/ +/g, ' ')).toBe(kept);
  });

  it('is cut to its bound, and between characters', () => {
    const { reason } = describeRefusal('C'.repeat(1_000), `${'x'.repeat(498)}😀${'y'.repeat(100_000)}`);

    expect(reason).toBe(`${'x'.repeat(498)}…`);
    expect(describeRefusal('C'.repeat(1_000), '').code).toHaveLength(100);
  });
});

describe('a retry', () => {
  it('publishes exactly those who failed, under the same dedup keys, and adds up in every state', async () => {
    await addUsers(db, range(1, 20), ['email', 'sms']);
    const id = await accept(db);
    const failing = [2, 7, 8, 9, 20];
    refuse(failing);
    await dispatchAll(deps);
    const published = dedupKeys();
    sink.accepted.length = 0;
    sink.answer(() => ({}));

    const retried = await retry(id);

    expect(retried).toMatchObject({ status: 'dispatching', completed_at: null, progress: 0.75 });
    expect(retried.counts).toMatchObject({ targeted: 20, published: 15, failed: 0, pending: 5 });
    expect(await readFailed(id)).toEqual([]);
    while (await dispatchNext(deps, UNSTOPPED)) {
      const { published: now, pending } = await readCounts(db, id);
      expect(now + pending).toBe(20);
    }
    expect(told()).toEqual(failing);
    const keys = [...published, ...dedupKeys()];
    const everyone = range(1, 20).flatMap((user) => [`${id} ${user} email`, `${id} ${user} sms`]);
    expect(keys.toSorted()).toEqual(everyone.toSorted());
    expect(await getNotification(db, id, null)).toMatchObject({
      ...{ status: 'completed', progress: 1 },
      counts: { targeted: 20, published: 20, failed: 0, pending: 0, messages: 20, by_channel: { email: 20, sms: 20 } },
    });
  });

  it('adds them to the list of messages, in which whoever was told before stays as they were', async () => {
    const id = await completeWithFailures([2, 5], range(1, 6));
    const before = await listSentMessages(db, id, null, EVERYTHING);
    await db.$executeRaw`update pages set settled_at = '2026-01-01T00:00:00Z'`;

    await retry(id);
    await dispatchAll(deps);

    const after = await listSentMessages(db, id, null, EVERYTHING);
    expect(after.map(({ user_id }) => user_id)).toEqual(range(1, 6));
    const settled = { published_at: new Date('2026-01-01T00:00:00Z') };
    expect(after.filter(({ user_id }) => ![2, 5].includes(user_id))).toEqual(
      before.map((message) => ({ ...message, ...settled })),
    );
    const given = new Map(sink.accepted.map(({ body, messageId }) => [recipientsOf(body)[0], messageId]));
    for (const user of [2, 5]) {
      const message = after.find(({ user_id }) => user_id === user);
      expect(message).toMatchObject({ message_id: given.get(user), channels: ['email', 'sms'] });
      expect(message?.published_at.getTime()).toBeGreaterThan(settled.published_at.getTime());
    }
  });

  it('may be repeated for those who fail again, until nobody does', async () => {
    const id = await completeWithFailures([1, 2, 3, 6], range(1, 6));
    for (const failing of [[1, 3, 6], [3], []]) {
      refuse(failing);
      await retry(id);
      await dispatchAll(deps);

      expect(await readFailed(id)).toEqual(failing);
      expect(await readCounts(db, id)).toMatchObject({ published: 6 - failing.length, failed: failing.length });
    }

    expect(told()).toEqual([1, 2, 3, 6]);
    const sent = await listSentMessages(db, id, null, EVERYTHING);
    expect(sent.map(({ user_id }) => user_id)).toEqual(range(1, 6));
    const given = new Map(sink.accepted.map(({ body, messageId }) => [recipientsOf(body)[0], messageId]));
    for (const { user_id, message_id } of sent.filter((message) => given.has(message.user_id))) {
      expect(message_id).toBe(given.get(user_id));
    }
    const moments = [2, 1, 3].map((user) => sent.find(({ user_id }) => user_id === user)?.published_at.getTime() ?? 0);
    expect(moments).toEqual(moments.toSorted((a, b) => a - b));
    expect(await readAudit(id)).toEqual(
      ['4 to retry', '3 to retry', '1 to retry'].map((outcome) => ({ principal: CALLER, outcome })),
    );
  });

  it('asks for preferences and addresses of now', async () => {
    const id = await completeWithFailures([1, 2, 3, 4, 5], range(1, 5));
    await db.preference.update({ where: { user_id: 1 }, data: { email_enabled: false, sms_enabled: false } });
    await db.preference.delete({ where: { user_id: 2 } });
    await db.user.delete({ where: { user_id: 3 } });
    await db.user.update({ where: { user_id: 4 }, data: { email: null } });

    await retry(id);
    await dispatchAll(deps);

    expect(dedupKeys().toSorted()).toEqual([`${id} 4 sms`, `${id} 5 email`, `${id} 5 sms`]);
    expect(await readCounts(db, id)).toMatchObject({
      ...{ targeted: 5, published: 2, failed: 0, pending: 0 },
      suppressed: { opted_out: 1, no_preferences: 1, unknown_user: 1 },
    });
  });

  it('tells nobody who has joined since', async () => {
    const id = await completeWithFailures([2, 3], [2, 3, 9]);
    await addUsers(db, [1, 5, 10, 20]);

    await retry(id);
    await dispatchAll(deps);

    expect(told()).toEqual([2, 3]);
    expect(await readCounts(db, id)).toMatchObject({ targeted: 3, published: 3 });
  });

  it('sends each of a packed message alone, so that who is at fault takes nobody along', async () => {
    deps = { ...deps, recipientsPerMessage: 3 };
    await addUsers(db, range(1, 3));
    const id = await accept(db, { user_ids: range(1, 3) });
    refuse([2]);
    await dispatchAll(deps);
    expect(await readFailed(id)).toEqual([1, 2, 3]);

    await retry(id);
    await dispatchAll(deps);

    expect(told()).toEqual([1, 3]);
    expect(await readFailed(id)).toEqual([2]);
    expect(await readCounts(db, id)).toMatchObject({ targeted: 3, published: 2, failed: 1, messages: 2 });
  });

  it('lets a notification to one user pass after at most one page', async () => {
    await completeWithFailures(range(1, 30), range(1, 30)).then(retry);
    await accept(db, { user_ids: [7] });
    await dispatchNext(deps, UNSTOPPED);
    const before = sink.accepted.length;

    await dispatchNext(deps, UNSTOPPED);

    const since = sink.accepted.slice(before).flatMap(({ body }) => recipientsOf(body));
    expect(before).toBeLessThanOrEqual(PAGE_USERS);
    expect(since).toEqual([7]);
  });

  it('is shared by several processes: nobody is told twice, it is completed once', async () => {
    const users = range(1, 150);
    const failing = users.filter((user) => user % 4 === 1);
    const id = await completeWithFailures(failing, users);
    const instances = range(1, 3).map(() => runDispatcher({ ...deps, db: connect() }, 2));
    onTestFinished(async () => {
      await Promise.all(instances.map(({ stop }) => stop(GRACE_MS)));
    });

    await retry(id);
    for (const { wake } of instances) wake();
    const ended = await untilEnded(db, id);

    expect(told()).toEqual(failing);
    expect(ended).toMatchObject({ status: 'completed', counts: { targeted: 150, published: 150, failed: 0 } });
  });

  it('called many times at once is one', async () => {
    const id = await completeWithFailures([1, 4], range(1, 6));

    const replies = await Promise.all(range(1, 10).map(() => retry(id)));
    await dispatchAll(deps);

    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set(['dispatching']));
    expect(told()).toEqual([1, 4]);
    expect(await readAudit(id)).toHaveLength(1);
  });

  it('counts its rate from its beginning', async () => {
    const id = await completeWithFailures([1, 2, 3, 4], range(1, 4));
    await db.$executeRaw`update notifications set recent_since = now() - interval '1 hour', recent_users = 1e6`;

    expect(await retry(id)).toMatchObject({ rate: 0, eta: null });
    await dispatchNext(deps, UNSTOPPED);

    const { rate } = await getNotification(db, id, null);
    expect(rate).toBeGreaterThan(10);
    expect(rate).toBeLessThan(100_000);
  });
});

describe('a retry whose process died', () => {
  it('goes on when nobody had claimed a page yet', async () => {
    const id = await completeWithFailures([1, 5], range(1, 6));
    await retry(id);
    // Found by a process that dies before it reopens a page.
    expect(await cutPage(db, deps)).toMatchObject({ kind: 'retrying', notification_id: id });

    await dispatchAll(deps);

    expect(told()).toEqual([1, 5]);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed' });
  });

  it('is published again under the same ids, and counted once, however often it is taken over', async () => {
    const id = await completeWithFailures([2, 3], range(1, 3));
    await retry(id);
    const first = await reopen(id);
    const result = await publishUnsettled(first);
    await expireLeases(db);
    const second = await reclaimPage(db, 60);
    await expireLeases(db);
    expect(second).toEqual({ ...first, attempt: first.attempt + 1, claimed_at: second?.claimed_at });
    expect(await settlePage(db, first, result)).toBe(false);
    expect(await readCounts(db, id)).toMatchObject({ published: 1, failed: 0, pending: 2 });
    expect(await readFailed(id)).toEqual([]);

    await dispatchAll(deps);

    const { published } = await readCounts(db, id);
    expect(told()).toEqual([2, 2, 3, 3]);
    expect(new Set(dedupKeys()).size).toBe(4);
    expect(published).toBe(3);
    expect(await settlePage(db, first, result)).toBe(false);
    expect((await listSentMessages(db, id, null, EVERYTHING)).map(({ user_id }) => user_id)).toEqual([1, 2, 3]);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', counts: { messages: 3 } });
  });

  it('is retried for the same users when its page is given back', async () => {
    const id = await completeWithFailures([2], range(1, 3));
    await retry(id);

    await dispatchNext(deps, AbortSignal.abort());
    expect(await readCounts(db, id)).toMatchObject({ published: 2, pending: 1 });
    await dispatchAll(deps);

    expect(told()).toEqual([2]);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', counts: { published: 3 } });
  });

  it('ends with whom it can find, when pages were removed meanwhile', async () => {
    const id = await completeWithFailures([1, 5], range(1, 6));
    await retry(id);
    await db.page.delete({ where: { notification_id_number: { notification_id: id, number: 2 } } });

    await dispatchAll(deps);

    expect(told()).toEqual([1]);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', progress: 1 });
    expect(await readCounts(db, id)).toMatchObject({ published: 5, failed: 1, pending: 0 });
  });
});

describe('a retry that is controlled meanwhile', () => {
  it.each([
    { end: 'canceled', act: (id: string) => control('cancel', id) },
    { end: 'expired', act: passExpiry },
  ])('tells nobody any more once it is $end, and counts those for that', async ({ end, act }) => {
    const expires_at = new Date(Date.now() + 3_600_000);
    const id = await completeWithFailures([1, 4, 5, 9], range(1, 9), { expires_at });
    await retry(id);
    await dispatchNext(deps, UNSTOPPED);
    await reopen(id);
    await readCounts(db, id);

    await act(id);
    await expireLeases(db);
    await readCounts(db, id);
    await dispatchAll(deps);

    expect(told()).toEqual([1]);
    expect(await getNotification(db, id, null)).toMatchObject({ status: end, progress: 1 });
    expect(await readCounts(db, id)).toMatchObject({
      ...{ targeted: 9, published: 6, failed: 0, pending: 0 },
      suppressed: { [end]: 3 },
    });
    expect(await readFailed(id)).toEqual([]);
    await expect(retry(id)).rejects.toMatchObject({ code: 'illegal_transition' });
  });

  it('finishes the page under way when it is canceled', async () => {
    const id = await completeWithFailures([1, 2, 5], range(1, 6));
    await retry(id);
    const page = await reopen(id);
    const result = await publishUnsettled(page);

    const canceled = await control('cancel', id);
    expect(canceled.counts).toMatchObject({ pending: 2, suppressed: { canceled: 1 } });
    await settlePage(db, page, result);

    expect(await readCounts(db, id)).toMatchObject({ published: 5, pending: 0, suppressed: { canceled: 1 } });
  });

  it('stands still while it is paused, and goes on where it was', async () => {
    const id = await completeWithFailures([1, 4, 7], range(1, 9));
    await retry(id);
    await dispatchNext(deps, UNSTOPPED);
    await reopen(id);
    await expireLeases(db);

    await control('pause', id);
    expect(await dispatchAll(deps)).toBe(0);
    expect(await reopenPage(db, id, 60)).toBeNull();
    expect(await retry(id)).toMatchObject({ status: 'paused', counts: { published: 7, pending: 2 } });
    await control('resume', id);
    await dispatchAll(deps);

    expect(told()).toEqual([1, 4, 7]);
    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed', counts: { published: 9 } });
  });

  it('has no page reopened once the answer to a pause is there', async () => {
    const id = await completeWithFailures([1], [1]);
    await retry(id);

    const { reopening } = await db.$transaction(async (rival) => {
      await controlNotification(rival as Database, 'pause', { id, owner: null, actor: ACTOR });
      const claim = reopenPage(db, id, 60);
      await eventually(async () => {
        expect(await db.$queryRaw<unknown[]>`select 1 from pg_locks where not granted`).not.toHaveLength(0);
      });
      return { reopening: claim };
    });

    expect(await reopening).toBeNull();
  });
});

describe('a retry for which there is nothing to do', () => {
  it('changes nothing when nobody has failed', async () => {
    await addUsers(db, [1]);
    const ids = [await accept(db), await accept(db, { send_at: new Date(Date.now() + 3_600_000) })];
    await dispatchAll(deps);

    for (const id of ids) {
      const before = await getNotification(db, id, null);
      expect(await retry(id)).toEqual(before);
      expect(await getNotification(db, id, null)).toEqual(before);
      expect(await readAudit(id)).toEqual([]);
    }
    expect(sink.accepted).toHaveLength(1);
  });

  it('leaves a retry that is under way to its end, and those who fail in it to the next', async () => {
    const id = await completeWithFailures([1, 4], range(1, 6));
    await retry(id);
    refuse([1]);
    await dispatchNext(deps, UNSTOPPED);

    expect(await retry(id)).toMatchObject({ status: 'dispatching', counts: { failed: 1, pending: 1 } });
    expect(await readFailed(id)).toEqual([1]);
    await dispatchAll(deps);

    expect(told()).toEqual([4]);
    expect(await readFailed(id)).toEqual([1]);
    expect(await readAudit(id)).toHaveLength(1);
  });
});

describe('a notification that cannot be retried', () => {
  it('is one that is dispatched for the first time', async () => {
    await addUsers(db, range(1, 6));
    const id = await accept(db);
    refuse([1]);
    await dispatchNext(deps, UNSTOPPED);

    await expect(retry(id)).rejects.toMatchObject({
      ...{ code: 'illegal_transition', message: 'A notification that is dispatching cannot be retried.' },
    });

    expect(await readFailed(id)).toEqual([1]);
  });

  it('is one whose time is up', async () => {
    const id = await completeWithFailures([1], range(1, 3), { expires_at: new Date(Date.now() + 3_600_000) });
    await passExpiry(id);

    await expect(retry(id)).rejects.toMatchObject({
      ...{ code: 'illegal_transition', message: 'A notification whose time is up cannot be retried.' },
    });

    expect(await dispatchAll(deps)).toBe(0);
    expect(await readFailed(id)).toEqual([1]);
  });

  it('is one that was canceled', async () => {
    await addUsers(db, range(1, 6));
    const id = await accept(db);
    refuse([1]);
    await dispatchNext(deps, UNSTOPPED);
    await control('cancel', id);

    await expect(retry(id)).rejects.toMatchObject({ code: 'illegal_transition' });

    expect(await readFailed(id)).toEqual([1]);
    expect(await readCounts(db, id)).toMatchObject({ published: 2, failed: 1, suppressed: { canceled: 3 } });
  });
});

describe('the API', () => {
  let api: Contract;
  let woken: number;

  beforeEach(async () => {
    woken = 0;
    const app = await startTestApp({
      db,
      onAccept: () => {
        woken += 1;
      },
    });
    onTestFinished(app.stop);
    api = await openContract(app);
  });

  it('lists failures in pages, by links', async () => {
    const failing = [2, 3, 4, 8];
    const path = `/notifications/${await completeWithFailures(failing, range(1, 9))}/failures`;

    const { rows, pages } = await walkList(api, `${path}?limit=1`);

    expect(rows).toEqual(failing.map((user_id) => ({ user_id, code: 'InvalidParameter', reason: 'the reason' })));
    expect(pages).toBe(failing.length + 1);
    expect((await api.call('GET', `${path}/?user_id=4`)).body).toMatchObject([{ user_id: 4 }]);
    expect((await api.call('GET', `${path}?user_id=5`)).body).toEqual([]);
  });

  it('retries, and tells the dispatcher of its process', async () => {
    const id = await completeWithFailures([2], range(1, 3));

    const retried = await api.call('POST', `/notifications/${id}/retry`);
    const again = await api.call('POST', `/notifications/${id}/retry/`, {});
    await dispatchAll(deps);

    expect(retried).toMatchObject({ status: 200, body: { status: 'dispatching', counts: { failed: 0, pending: 1 } } });
    expect([again.status, again.body]).toEqual([200, retried.body]);
    expect(woken).toBeGreaterThan(0);
    const { body } = await api.call('GET', `/notifications/${id}`);
    expect(body).toMatchObject({ status: 'completed', counts: { published: 3, failed: 0 } });
  });

  it('shows a retry in the events of a stream that is opened anew', async () => {
    const id = await completeWithFailures([2], range(1, 3));
    const path = `/notifications/${id}/events`;
    expect((await api.call('GET', path)).text).toContain('event: end');

    await api.call('POST', `/notifications/${id}/retry`);

    await eventually(async () => {
      const { text } = await api.call('GET', path);
      expect(text).toContain('event: progress');
      expect(text).toContain('"status":"dispatching"');
    });
  });
});
