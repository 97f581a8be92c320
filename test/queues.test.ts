import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHANNEL_NAMES, type Channel } from '../src/channels.ts';
import { createDatabase, type Database } from '../src/database.ts';
import { SUPPRESSION_REASONS } from '../src/notifications/counts.ts';
import { getNotification, listSentMessages, type SentMessage } from '../src/notifications/service.ts';
import { createClients } from '../src/topology/clients.ts';
import { provisionTopology, type Topology } from '../src/topology/provision.ts';
import { createTestDatabase } from './support/database.ts';
import { accept, createDeps, dispatchAll, range } from './support/dispatch.ts';
import { drainQueue, type ReceivedMessage } from './support/queues.ts';

const USERS = 2_000;
const PAGE_USERS = 500;
/** Ids lie three apart, so that a page's range holds ids that are nobody's. */
const LAST_USER_ID = USERS * 3;

let db: Database;
let topology: Topology;
const clients = createClients();

/**
 * Every combination of {no address, e-mail, phone, both} and {no preferences, none on, e-mail, SMS, both on}, a hundred
 * times; with addresses that JSON or XML could trip over, and with preferences whose user is unknown.
 */
beforeAll(async () => {
  db = createDatabase({ url: await createTestDatabase(), poolMax: 5 });
  topology = await provisionTopology({ ...clients, name: `test-${randomUUID()}` });
  await db.$executeRaw`
    insert into users
    select i * 3, case when i % 4 in (1, 3) then format('"o''hara <%s>&\\ü😀"@example.com', i) end,
      case when i % 4 in (2, 3) then '+1555' || to_char(i, 'FM0000000') end
    from generate_series(1, ${USERS}) i`;
  await db.$executeRaw`
    insert into preferences
    select i * 3, i / 4 % 5 in (2, 4), i / 4 % 5 in (3, 4) from generate_series(1, ${USERS}) i where i / 4 % 5 <> 0`;
  await db.$executeRaw`insert into preferences select i * 3 + 1, true, true from generate_series(1, ${USERS}) i where i % 9 = 0`;
});

afterAll(async () => {
  await db.$disconnect();
  clients.sns.destroy();
  clients.sqs.destroy();
});

type Case = { audience: 'everyone' | 'listed'; recipientsPerMessage: number; channels: Channel[] };
/** `reason` is `told` for those who are told, on the channels their address is given for. */
type Expected = { user: { user_id: number; email?: string; sms?: string }; page: number; reason: string };

/** Known and unknown ids alike, the unknown ones with and without preferences, across several pages. */
const LISTED = range(1, LAST_USER_ID + 90).filter((id) => id % 7 < 3 && id % 3 < 2);

type ExpectedRow = { user_id: number; page: number; email: string | null; sms: string | null; reason: string };

/** What has to become of each user of an audience: an address per channel told on, or the reason. Not how the service asks. */
async function expectOutcomes({ audience, channels }: Case): Promise<Expected[]> {
  const rows = await db.$queryRaw<ExpectedRow[]>`
    with audience as (
      select id, ((row_number() over (order by id) - 1) / ${PAGE_USERS}::int)::int as page
      from (
        select user_id as id from users where ${audience === 'everyone'}
        union select unnest(${LISTED}::int[]) where ${audience === 'listed'}
      ) ids
    ), turned_on as (
      select user_id as id, 'email' as channel from preferences where email_enabled and 'email' = any (${channels})
      union all select user_id, 'sms' from preferences where sms_enabled and 'sms' = any (${channels})
    ), contact as (
      select user_id as id, 'email' as channel, email as address from users where email is not null
      union all select user_id, 'sms', phone from users where phone is not null
    ), told as (
      select * from turned_on natural join contact
    )
    select id as user_id, page,
      (select address from told where told.id = a.id and channel = 'email') as email,
      (select address from told where told.id = a.id and channel = 'sms') as sms,
      case when id in (select id from told) then 'told'
           when id not in (select user_id from users) then 'unknown_user'
           when id not in (select user_id from preferences) then 'no_preferences'
           when id not in (select id from turned_on) then 'opted_out'
           else 'no_contact' end as reason
    from audience a order by id`;
  return rows.map(({ user_id, email, sms, ...row }) => ({
    user: { user_id, ...(email !== null && { email }), ...(sms !== null && { sms }) },
    ...row,
  }));
}

async function drainQueues(): Promise<Record<Channel, ReceivedMessage[]>> {
  const drained = CHANNEL_NAMES.map(async (name) => [name, await drainQueue(topology.queueUrls[name])] as const);
  return Object.fromEntries(await Promise.all(drained)) as Record<Channel, ReceivedMessage[]>;
}

async function listAllSent(id: string): Promise<SentMessage[]> {
  const sent: SentMessage[] = [];
  for (let cursor = 0, limit = 700; ; cursor = sent.at(-1)?.user_id ?? 0) {
    const page = await listSentMessages(db, id, null, { limit, cursor });
    sent.push(...page);
    if (page.length < limit) return sent;
  }
}

const channelsOf = (recipient: { email?: string | undefined; sms?: string | undefined }) =>
  CHANNEL_NAMES.filter((name) => recipient[name] !== undefined);

const joinIds = (users: { user_id: number }[]) => users.map(({ user_id }) => user_id).join();

const count = <Item>(items: Item[], matches: (item: Item) => boolean) => items.filter(matches).length;

function groupBy<Item>(items: Item[], keyOf: (item: Item) => string): Item[][] {
  const groups = new Map<string, Item[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return [...groups.values()];
}

/** The fewest messages: of each page and set of channels one per `recipientsPerMessage` users. */
function countMessages(told: Expected[], recipientsPerMessage: number): number {
  const groups = groupBy(told, ({ page, user }) => `${page}/${channelsOf(user).join()}`);
  return groups.reduce((sum, { length }) => sum + Math.ceil(length / recipientsPerMessage), 0);
}

const CASES: Case[] = [
  { audience: 'everyone', recipientsPerMessage: 1, channels: ['email', 'sms'] },
  { audience: 'everyone', recipientsPerMessage: 50, channels: ['email', 'sms'] },
  { audience: 'everyone', recipientsPerMessage: 50, channels: ['sms'] },
  { audience: 'listed', recipientsPerMessage: 1, channels: ['email'] },
  { audience: 'listed', recipientsPerMessage: 1, channels: ['email', 'sms'] },
  { audience: 'listed', recipientsPerMessage: 50, channels: ['email', 'sms'] },
];

describe.each(CASES)('$audience, $recipientsPerMessage per message, $channels', (given) => {
  let id: string;
  let expected: Expected[];
  let told: Expected[];
  let queues: Record<Channel, ReceivedMessage[]>;

  beforeAll(async () => {
    const { audience, channels, recipientsPerMessage } = given;
    const { topicArn } = topology;
    expected = await expectOutcomes(given);
    told = expected.filter(({ reason }) => reason === 'told');
    id = await accept(db, {
      payload: 'Grüße "an" alle 😀',
      channels,
      ...(audience === 'listed' && { user_ids: LISTED }),
    });
    await dispatchAll(createDeps({ db, sns: clients.sns, topicArn }, { pageUsers: PAGE_USERS, recipientsPerMessage }));
    queues = await drainQueues();
  });

  it.each(CHANNEL_NAMES)('brings exactly the recipients of %s into its queue, each once', (channel) => {
    const received = queues[channel]
      .flatMap(({ body }) => body.data.recipients)
      .toSorted((a, b) => a.user_id - b.user_id);

    const meant = told.map(({ user }) => user).filter((user) => user[channel] !== undefined);
    expect(received).toEqual(meant);
    expect(meant.length > 0).toBe(given.channels.includes(channel));
  });

  it('marks each message with exactly the channels of all its recipients', () => {
    for (const { attributes, body } of Object.values(queues).flat()) {
      const [first] = body.data.recipients;
      const markers = channelsOf(first ?? {});
      expect(attributes).toEqual(Object.fromEntries(markers.map((name) => [name, '1'])));
      expect(body.data.recipients.map(channelsOf)).toEqual(body.data.recipients.map(() => markers));
    }
  });

  it('says the same in every message, under an id of its own', () => {
    const bodies = new Map<string, string>();
    for (const messages of Object.values(queues)) {
      expect(new Set(messages.map(({ body }) => body.id)).size).toBe(messages.length);
      for (const { body } of messages) {
        const text = JSON.stringify(body);
        expect(bodies.get(body.id) ?? text).toBe(text);
        bodies.set(body.id, text);
        expect(body.id).toBe(`${id}/${body.data.recipients[0]?.user_id}`);
        expect(body.data).toMatchObject({ notification_id: id, subject: null, payload: 'Grüße "an" alle 😀' });
      }
    }
    expect(bodies.size).toBe(countMessages(told, given.recipientsPerMessage));
  });

  it('counts every user of the audience under what became of them', async () => {
    const { status, progress, audience, counts } = await getNotification(db, id, null);

    const suppressed = SUPPRESSION_REASONS.map((name) => [name, count(expected, ({ reason }) => reason === name)]);
    const byChannel = CHANNEL_NAMES.map((name) => [name, count(told, ({ user }) => user[name] !== undefined)]);
    expect({ status, progress, audience: audience.count }).toEqual({
      status: 'completed',
      progress: 1,
      audience: expected.length,
    });
    expect(counts).toEqual({
      ...{ targeted: expected.length, published: told.length, failed: 0, pending: 0 },
      ...{ suppressed: Object.fromEntries(suppressed), by_channel: Object.fromEntries(byChannel) },
      messages: countMessages(told, given.recipientsPerMessage),
    });
  });

  it('lists whom it told, on which channels, by which message', async () => {
    const sent = await listAllSent(id);

    expect(sent.map(({ user_id, channels }) => ({ user_id, channels }))).toEqual(
      told.map(({ user }) => ({ user_id: user.user_id, channels: channelsOf(user) })),
    );
    const listed = groupBy(sent, ({ message_id }) => message_id).map(joinIds);
    const received = Object.values(queues).flatMap((messages) =>
      messages.map(({ body }) => joinIds(body.data.recipients)),
    );
    expect(new Set(listed)).toEqual(new Set(received));
  });
});
