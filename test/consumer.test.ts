import { randomUUID } from 'node:crypto';
import { PublishCommand } from '@aws-sdk/client-sns';
import { SQSClient } from '@aws-sdk/client-sqs';
import { startFauxqs } from 'fauxqs';
import { Client } from 'pg';
import { beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import type { Deliver } from '../docs/consumer/delivery.ts';
import { CHANNELS, readMessage } from '../docs/consumer/message.ts';
import { CHANNEL_NAMES } from '../src/channels.ts';
import { createClients } from '../src/topology/clients.ts';
import { provisionTopology } from '../src/topology/provision.ts';
import {
  composeBody,
  createConsumerDatabase,
  createGate,
  createQueue,
  deliverRow,
  MAX_RECEIVES,
  readEffects,
  startConsumer,
} from './support/consumer.ts';
import { range } from './support/dispatch.ts';
import { startProcess } from './support/process.ts';

/** How long a busy machine, and the visibility timeouts of a second, may take. */
const WITHIN = { timeout: 20_000 };
const EMPTY = { waiting: 0, inHand: 0 };

let database: Awaited<ReturnType<typeof createConsumerDatabase>>;

beforeAll(async () => {
  database = await createConsumerDatabase();
});

/** A queue, a database without effects, and a notification to put into it. */
async function setUp() {
  const pool = database.openPool();
  await pool.query('truncate deliveries, outbox, effects');
  const queue = await createQueue();
  const id = randomUUID();
  const keysOf = (user_ids: number[]) => user_ids.map((user_id) => `${id}/${user_id}/email`).toSorted();
  const readKeys = async () => (await readEffects(pool)).map(({ dedup_key }) => dedup_key);
  return { pool, queue, queueUrl: queue.queueUrl, id, keysOf, readKeys };
}

describe('the message a consumer reads', () => {
  it.each(CHANNEL_NAMES)('is the one that is published, with the addresses of its channel: %s', (channel) => {
    const id = randomUUID();
    const addresses = { email: 'ada@example.com', sms: '+15550000001' };

    const reading = readMessage(composeBody(id, [1, 2_147_483_647], addresses), channel);

    const toldAs = (user_id: number) => ({
      ...{ user_id, address: addresses[channel], dedup_key: `${id}/${user_id}/${channel}` },
    });
    expect(reading).toEqual({
      kind: 'notification',
      notification: { notification_id: id, subject: null, payload: 'Your statement is ready' },
      recipients: [toldAs(1), toldAs(2_147_483_647)],
    });
  });

  it('has the channels that there are', () => {
    expect(CHANNELS).toEqual(CHANNEL_NAMES);
  });

  it('may have fields that nobody knows yet', () => {
    const body = JSON.parse(composeBody(randomUUID(), [1]));

    body.traceid = 'new';
    body.data.priority = 'high';
    body.data.recipients[0].push = 'device';

    expect(readMessage(JSON.stringify(body), 'email')).toMatchObject({ kind: 'notification' });
  });
});

describe('a consumer', () => {
  it('delivers each message once, though it comes twice, to two consumers at once', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const users = range(1, 60);
    const bodies = users.map((user_id) => composeBody(id, [user_id]));

    startConsumer({ queueUrl, pool });
    startConsumer({ queueUrl, pool });
    await Promise.all(bodies.map((body) => queue.send(body, body)));

    await expect.poll(readKeys, WITHIN).toEqual(keysOf(users));
    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual(keysOf(users));
  });

  it('waits for whoever has the same key under way, and leaves it to them', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const gate = createGate();
    let begun = 0;
    const deliver: Deliver = async (...args) => {
      begun += 1;
      await gate.pass;
      await deliverRow(...args);
    };

    const first = startConsumer({ queueUrl, pool, deliver, deliverLimitMs: 20_000 });
    const second = startConsumer({ queueUrl, pool, deliver, deliverLimitMs: 20_000 });
    await queue.send(composeBody(id, [1]));
    await expect.poll(() => begun, WITHIN).toBe(1);
    await queue.send(composeBody(id, [1]));
    await expect.poll(() => first.received.length + second.received.length, WITHIN).toBe(2);
    gate.open();

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual(keysOf([1]));
    expect(begun).toBe(1);
  });

  it('goes on with a packed message where it stopped, until the dead-letter queue has it', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const begun: number[] = [];
    const deliver: Deliver = async (recipient, ...rest) => {
      begun.push(recipient.user_id);
      await deliverRow(recipient, ...rest);
      if (recipient.user_id === 2) throw new Error(`${recipient.address} is refused`);
    };
    const body = composeBody(id, [1, 2, 3]);

    const { lines } = startConsumer({ queueUrl, pool, deliver });
    await queue.send(body);

    await expect.poll(queue.readDeadLetters, WITHIN).toEqual([body]);
    expect(begun).toEqual([1, 2, 3, ...Array(MAX_RECEIVES - 1).fill(2)]);
    expect(await readKeys()).toEqual(keysOf([1, 3]));
    expect(lines).toHaveLength(MAX_RECEIVES);
    expect(lines.join()).not.toContain('ada@example.com');
  });

  it('tells a recipient who failed at the next try, and deletes the message then', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    let failures = 0;
    const deliver: Deliver = async (recipient, ...rest) => {
      if (recipient.user_id === 2 && failures++ === 0) throw new Error('busy');
      await deliverRow(recipient, ...rest);
    };

    startConsumer({ queueUrl, pool, deliver });
    await queue.send(composeBody(id, [1, 2, 3]));

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual(keysOf([1, 2, 3]));
    expect(await queue.readDeadLetters()).toEqual([]);
  });

  it('has no second effect when it dies between commit and delete', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();

    const first = startConsumer({ queueUrl, pool, failCalls: 'DeleteMessageBatchCommand' });
    await queue.send(composeBody(id, [1, 2]));
    await expect.poll(readKeys, WITHIN).toEqual(keysOf([1, 2]));
    await first.stop();
    expect(await queue.count()).not.toEqual(EMPTY);
    const second = startConsumer({ queueUrl, pool });

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(second.received).toEqual(first.received.slice(0, 1));
    expect(await readKeys()).toEqual(keysOf([1, 2]));
  });

  it('keeps a message for longer than its visibility timeout while it works', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const gate = createGate();
    const deliver: Deliver = async (...args) => {
      await gate.pass;
      await deliverRow(...args);
    };

    const first = startConsumer({ queueUrl, pool, deliver, deliverLimitMs: 20_000 });
    await queue.send(composeBody(id, [1]));
    await expect.poll(() => first.received, WITHIN).toHaveLength(1);
    const second = startConsumer({ queueUrl, pool });
    // Each of them waits for a second, which is the visibility timeout.
    await expect.poll(() => second.calls.filter((name) => name === 'ReceiveMessage').length, WITHIN).toBe(3);
    gate.open();

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(second.received).toEqual([]);
    expect(await readKeys()).toEqual(keysOf([1]));
  });

  it('leaves what it cannot read to the dead-letter queue, and does not repeat it', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const later = composeBody(id, [1]).replace('dispatched.v1', 'dispatched.v2');
    const damaged = composeBody(id, [1]).replace('"user_id":1', '"user_id":"zoe"');
    const garbage = ['{"specversion":', '"zoe"', '{"data":{}}', later, damaged];

    const { lines } = startConsumer({ queueUrl, pool });
    await queue.send(...garbage, composeBody(id, [7]));

    await expect.poll(async () => (await queue.readDeadLetters()).toSorted(), WITHIN).toEqual(garbage.toSorted());
    expect(await readKeys()).toEqual(keysOf([7]));
    expect(lines).toHaveLength(garbage.length * MAX_RECEIVES);
    expect(lines.join()).toContain('"where":["data/recipients/0/user_id"]');
    // Nothing that an id could have in it by chance.
    expect(lines.join()).not.toMatch(/zoe|@example|statement/);
  });

  it('drops what is no notification', async () => {
    const { queue, pool, queueUrl, readKeys } = await setUp();

    const { lines } = startConsumer({ queueUrl, pool });
    await queue.send('{"specversion":"1.0","type":"notification.canary.v1","data":{"any":"thing"}}');

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect([await readKeys(), await queue.readDeadLetters(), lines]).toEqual([[], [], []]);
  });

  it('takes the addresses of its own channel only', async () => {
    const { pool, id } = await setUp();
    const { sns, sqs } = createClients();
    const { topicArn, queueUrls } = await provisionTopology({ sns, sqs, name: `consumer-${id}` });
    const marker = { DataType: 'String', StringValue: '1' };
    const publish = (user_id: number, addresses: { email?: string; sms?: string }) => {
      const MessageAttributes = Object.fromEntries(Object.keys(addresses).map((channel) => [channel, marker]));
      const Message = composeBody(id, [user_id], addresses);
      return sns.send(new PublishCommand({ TopicArn: topicArn, Message, MessageAttributes }));
    };

    for (const channel of CHANNELS) startConsumer({ queueUrl: queueUrls[channel], channel, pool });
    await publish(1, { email: 'ada@example.com', sms: '+15550000001' });
    await publish(2, { email: 'bob@example.com' });
    await publish(3, { sms: '+15550000003' });

    await expect
      .poll(() => readEffects(pool), WITHIN)
      .toEqual([
        { dedup_key: `${id}/1/email`, address: 'ada@example.com' },
        { dedup_key: `${id}/1/sms`, address: '+15550000001' },
        { dedup_key: `${id}/2/email`, address: 'bob@example.com' },
        { dedup_key: `${id}/3/sms`, address: '+15550000003' },
      ]);
  });

  it('passes over recipients without an address on its channel', async () => {
    const { queue, pool, queueUrl, id, readKeys } = await setUp();

    startConsumer({ queueUrl, pool });
    await queue.send(composeBody(id, [1], { sms: '+15550000001' }));

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual([]);
  });

  it('finishes a recipient when it is stopped, and gives back the others at once', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const gate = createGate();
    let begun = 0;
    const deliver: Deliver = async (...args) => {
      begun += 1;
      await gate.pass;
      await deliverRow(...args);
    };

    // So long that the message would not be back within this test by itself.
    const first = startConsumer({ queueUrl, pool, deliver, visibilitySeconds: 600, deliverLimitMs: 20_000 });
    await queue.send(composeBody(id, [1, 2, 3]));
    await expect.poll(() => begun, WITHIN).toBe(1);
    const stopped = first.stop();
    gate.open();
    await stopped;

    expect(await readKeys()).toEqual(keysOf([1]));
    expect(await queue.count()).toEqual({ waiting: 1, inHand: 0 });
    startConsumer({ queueUrl, pool });
    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual(keysOf([1, 2, 3]));
  });

  it.each([1, 3, 15])('has no more messages in hand than it may: %i', async (concurrency) => {
    const { queue, pool, queueUrl, id, readKeys } = await setUp();
    const gate = createGate();
    let inHand = 0;
    let most = 0;
    const deliver: Deliver = async (...args) => {
      most = Math.max(most, ++inHand);
      await gate.pass;
      await deliverRow(...args);
      inHand -= 1;
    };
    const loops = Math.ceil(concurrency / 10);

    await queue.send(...range(1, 30).map((user_id) => composeBody(id, [user_id])));
    startConsumer({ queueUrl, pool, deliver, concurrency, deliverLimitMs: 20_000 });
    await expect.poll(() => inHand, WITHIN).toBe(loops * Math.floor(concurrency / loops));
    gate.open();

    await expect.poll(readKeys, WITHIN).toHaveLength(30);
    expect(most).toBeLessThanOrEqual(concurrency);
  });
});

describe('an effect', () => {
  it('that takes too long is given up and tried again', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const aborted: boolean[] = [];
    const deliver: Deliver = async (recipient, notification, within) => {
      await deliverRow(recipient, notification, within);
      if (aborted.length > 0) return;
      within.signal.addEventListener('abort', () => aborted.push(true));
      await new Promise(() => undefined);
    };

    startConsumer({ queueUrl, pool, deliver, deliverLimitMs: 500 });
    await queue.send(composeBody(id, [1]));

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(aborted).toEqual([true]);
    expect(await readKeys()).toEqual(keysOf([1]));
  });

  it('whose statement failed is not taken for done, even if it hides it', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    let hidden = 0;
    const deliver: Deliver = async (recipient, notification, within) => {
      if (hidden++ === 0) await within.transaction.query('select 1 / 0').catch(() => undefined);
      else await deliverRow(recipient, notification, within);
    };

    startConsumer({ queueUrl, pool, deliver });
    await queue.send(composeBody(id, [1]));

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual(keysOf([1]));
  });

  it('is tried again when its connection breaks meanwhile', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    let begun = 0;
    const deliver: Deliver = async (recipient, notification, within) => {
      await deliverRow(recipient, notification, within);
      if (begun++ > 0) return;
      const { rows } = await within.transaction.query('select pg_backend_pid() as pid');
      const ended = new Promise((resolve) => within.transaction.once('end', resolve));
      await pool.query('select pg_terminate_backend($1)', [rows[0].pid]);
      await ended;
    };

    startConsumer({ queueUrl, pool, deliver });
    await queue.send(composeBody(id, [1]));

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(begun).toBe(2);
    expect(await readKeys()).toEqual(keysOf([1]));
  });
});

describe('an outage', () => {
  it('of the database uses up no receives, however long it is', async () => {
    const { queue, pool, queueUrl, id, keysOf, readKeys } = await setUp();
    const admin = new Client({ connectionString: inject('postgresUrl') });
    await admin.connect();
    onTestFinished(() => admin.end());
    const name = new URL(database.url).pathname.slice(1);

    const { lines, received } = startConsumer({ queueUrl, pool });
    await admin.query(`alter database ${name} with allow_connections false`);
    await admin.query('select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1', [name]);
    await queue.send(composeBody(id, [1]));
    const outOfReach = () => lines.filter((line) => line.startsWith('SQS or the database cannot be reached'));
    await expect.poll(outOfReach, WITHIN).toHaveLength(2);
    expect(received).toHaveLength(1);
    await admin.query(`alter database ${name} with allow_connections true`);

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual(keysOf([1]));
  });

  it('of SQS is waited out', async () => {
    const { pool, id, keysOf, readKeys } = await setUp();
    const first = await startFauxqs({ port: 0, logger: false });
    const connect = () => new SQSClient({ endpoint: `http://127.0.0.1:${first.port}`, useQueueUrlAsEndpoint: false });
    const { name, queueUrl } = await createQueue(connect());

    const { lines } = startConsumer({ queueUrl, pool, sqs: connect() });
    await first.stop();
    await expect.poll(() => lines, WITHIN).toHaveLength(2);
    const second = await startFauxqs({ port: first.port, logger: false });
    onTestFinished(() => second.stop());
    const queue = await createQueue(connect(), name);
    await queue.send(composeBody(id, [1]));

    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    expect(await readKeys()).toEqual(keysOf([1]));
  });
});

describe('the example process', () => {
  it('fills its outbox, and ends with 0 on SIGTERM', async () => {
    const { queue, pool, queueUrl, id } = await setUp();
    await pool.query('drop table outbox');
    const consumer = startProcess('../docs/consumer/main.js', {
      cwd: process.cwd(),
      args: ['--create-tables'],
      env: {
        ...{ QUEUE_URL: queueUrl, CHANNEL: 'sms', DATABASE_URL: database.url },
        ...{ AWS_ENDPOINT_URL: inject('emulatorUrl'), AWS_REGION: 'us-east-1' },
        ...{ AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
      },
    });

    await consumer.print(/"consuming"/);
    await queue.send(composeBody(id, [1]));
    await expect.poll(queue.count, WITHIN).toEqual(EMPTY);
    const { rows } = await pool.query('select dedup_key, channel, address, subject, payload from outbox');
    consumer.kill('SIGTERM');

    expect(rows).toEqual([
      {
        ...{ dedup_key: `${id}/1/sms`, channel: 'sms', address: '+15550000001' },
        ...{ subject: null, payload: 'Your statement is ready' },
      },
    ]);
    expect(await consumer.exited).toEqual({ code: 0, signal: null });
  });

  it('says all that is wrong with its environment, and ends with 1', async () => {
    const consumer = startProcess('../docs/consumer/main.js', { cwd: process.cwd(), env: { CHANNEL: 'fax' } });

    expect(await consumer.exited).toEqual({ code: 1, signal: null });
    for (const name of ['QUEUE_URL', 'CHANNEL', 'DATABASE_URL']) expect(consumer.output.stderr).toContain(name);
  });
});
