import { randomUUID } from 'node:crypto';
import { PublishCommand, SNSClient } from '@aws-sdk/client-sns';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { startFauxqs } from 'fauxqs';
import { afterEach, describe, expect, it } from 'vitest';
import { createDeliveryLog, LINES_PER_SECOND } from '../src/local/delivery-log.ts';
import { runSenders } from '../src/local/senders.ts';
import { composeCanary } from '../src/notifications/canary.ts';
import { createClients } from '../src/topology/clients.ts';
import { provisionTopology, type Topology } from '../src/topology/provision.ts';
import { countMessages } from './support/queues.ts';

const shared = createClients();
/** How long a busy machine may take until a line or a count is there. */
const WITHIN = { timeout: 15_000 };
const stops: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

/** Senders at work on a topology of their own, and the lines they printed so far. */
async function startSenders(clients = shared) {
  const topology = await provisionTopology({ ...clients, name: `senders-${randomUUID()}` });
  const lines: string[] = [];
  const controller = new AbortController();
  const { signal } = controller;
  const done = runSenders({
    sqs: clients.sqs,
    queueUrls: topology.queueUrls,
    print: (line) => lines.push(line),
    signal,
  });
  const stop = () => {
    controller.abort();
    return done;
  };
  stops.push(stop);
  return { topology, lines, stop };
}

type Contact = { email?: string; sms?: string };

async function publish(
  { topicArn }: Pick<Topology, 'topicArn'>,
  contacts: Contact[],
  payload: string,
  { subject = null, sns = shared.sns }: { subject?: string | null; sns?: SNSClient } = {},
) {
  const notification_id = randomUUID();
  const recipients = contacts.map((contact, index) => ({ user_id: index + 1, ...contact }));
  const channels = new Set(contacts.flatMap(Object.keys));
  const marker = { DataType: 'String', StringValue: '1' };
  await sns.send(
    new PublishCommand({
      TopicArn: topicArn,
      MessageAttributes: Object.fromEntries([...channels].map((channel) => [channel, marker])),
      Message: JSON.stringify({
        specversion: '1.0',
        type: 'notification.dispatched.v1',
        source: '/notifications',
        id: `${notification_id}/1`,
        time: new Date().toISOString(),
        datacontenttype: 'application/json',
        data: { notification_id, subject, payload, recipients },
      }),
    }),
  );
}

describe('the demo senders', () => {
  it('print a line for each recipient on each channel, and leave the queues empty', async () => {
    const { topology, lines } = await startSenders();

    await publish(
      topology,
      [{ email: 'ada@example.com', sms: '+15550000001' }, { email: 'bob@example.com' }, { sms: '+15550000003' }],
      'Your statement is ready',
    );

    await expect
      .poll(() => lines.toSorted(), WITHIN)
      .toEqual([
        'email → ada@example.com: Your statement is ready',
        'email → bob@example.com: Your statement is ready',
        'sms → +15550000001: Your statement is ready',
        'sms → +15550000003: Your statement is ready',
      ]);
    for (const url of Object.values(topology.queueUrls))
      await expect.poll(() => countMessages(url), WITHIN).toEqual({ waiting: 0, inHand: 0 });
  });

  it('print the subject before the payload', async () => {
    const { topology, lines } = await startSenders();

    await publish(topology, [{ email: 'ada@example.com' }], 'It is attached.', { subject: 'Statement' });

    await expect.poll(() => lines, WITHIN).toEqual(['email → ada@example.com: [Statement] It is attached.']);
  });

  it('print what is long or would move the cursor as one short line', async () => {
    const { topology, lines } = await startSenders();

    await publish(topology, [{ sms: '+15550000001' }], `one\r\ntwo\u001b[31m\u202e three ${'😀'.repeat(5_000)}`);

    await expect.poll(() => lines, WITHIN).toHaveLength(1);
    expect(lines[0]).toMatch(/^sms → \+15550000001: one two \[31m three (😀)+…$/u);
    expect(Array.from(lines[0] ?? '').length).toBeLessThan(130);
  });

  it('leave a message they cannot read for the dead-letter queue, and say so', async () => {
    const { topology, lines } = await startSenders();
    const QueueUrl = topology.queueUrls.email;

    const { MessageId } = await shared.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: '{"specversion":' }));
    await publish(topology, [{ email: 'ada@example.com' }], 'next');

    await expect
      .poll(() => lines, WITHIN)
      .toEqual([`email → message ${MessageId} cannot be read: left in the queue`, 'email → ada@example.com: next']);
    await expect.poll(() => countMessages(QueueUrl), WITHIN).toEqual({ waiting: 0, inHand: 1 });
  });

  it('drop a canary without a word', async () => {
    const { topology, lines } = await startSenders();
    const { body } = composeCanary('email', 'canary/1');

    await shared.sqs.send(new SendMessageCommand({ QueueUrl: topology.queueUrls.email, MessageBody: body }));
    await publish(topology, [{ email: 'ada@example.com' }], 'next');

    await expect.poll(() => lines, WITHIN).toEqual(['email → ada@example.com: next']);
    await expect.poll(() => countMessages(topology.queueUrls.email), WITHIN).toEqual({ waiting: 0, inHand: 0 });
  });

  it('summarize what comes in faster than one can read', async () => {
    const { topology, lines, stop } = await startSenders();
    const contacts = Array.from({ length: 1_234 }, (_, index) => ({ email: `user${index}@example.com` }));

    await publish(topology, contacts, 'for everyone');
    await expect.poll(() => countMessages(topology.queueUrls.email), WITHIN).toEqual({ waiting: 0, inHand: 0 });
    await stop();

    // A second may end amid the messages: then there are two stretches of lines, each no longer than allowed.
    expect(lines.length).toBeLessThanOrEqual(2 * LINES_PER_SECOND + 1);
    expect(lines.at(-1)).toMatch(/^email → [\d,]+ in the last second \(1,234 so far\)$/);
  });

  it('stop within a second while they wait for messages', async () => {
    const { topology, lines, stop } = await startSenders();
    await publish(topology, [{ email: 'ada@example.com' }], 'hello');
    await expect.poll(() => lines, WITHIN).toHaveLength(1);
    const startedAt = performance.now();

    await stop();

    // A receive under way would wait for 5 s.
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  it('say once that a queue is out of reach, and go on when it is back', async () => {
    const first = await startFauxqs({ port: 0, logger: false });
    const endpoint = `http://127.0.0.1:${first.port}`;
    const clients = {
      sns: new SNSClient({ endpoint }),
      sqs: new SQSClient({ endpoint, useQueueUrlAsEndpoint: false }),
    };
    const { topology, lines } = await startSenders(clients);

    await first.stop();
    const outOfReach = () =>
      lines.filter((line) => line.includes('cannot be reached')).map((line) => line.split(' ')[0]);
    await expect.poll(outOfReach, WITHIN).toHaveLength(2);
    const second = await startFauxqs({ port: first.port, logger: false });
    stops.unshift(() => second.stop());
    await provisionTopology({ ...clients, name: topology.topicArn.split(':').at(-1) ?? '' });
    await publish(topology, [{ email: 'ada@example.com' }], 'back again', { sns: clients.sns });

    const wanted = ['email → ada@example.com: back again', 'email → the queue can be reached again'];
    await expect.poll(() => lines, WITHIN).toEqual(expect.arrayContaining(wanted));
    expect(outOfReach()).toHaveLength(2);
    expect(new Set(outOfReach())).toEqual(new Set(['email', 'sms']));
  });
});

describe('the log of deliveries', () => {
  /** A log on a clock that stands still until it is moved. */
  function startLog() {
    const lines: string[] = [];
    const clock = { ms: 0 };
    const log = createDeliveryLog(
      (line) => lines.push(line),
      () => clock.ms,
    );
    const add = (count: number, channel: 'email' | 'sms' = 'email') => {
      for (let index = 0; index < count; index += 1) log.add(channel, `${channel} line`);
    };
    const moveTo = (ms: number) => {
      clock.ms = ms;
      log.tick();
    };
    const printed = () => lines.splice(0);
    return { log, add, moveTo, printed };
  }

  it('prints every line at a readable rate', () => {
    const { add, moveTo, printed } = startLog();

    add(20);
    moveTo(1_000);
    add(20);
    moveTo(2_000);

    expect(printed()).toEqual(Array(40).fill('email line'));
  });

  it('prints totals for each channel at the end of a second with more lines', () => {
    const { add, moveTo, printed } = startLog();

    add(1_000);
    add(5, 'sms');
    expect(printed()).toEqual(Array(20).fill('email line'));
    moveTo(999);
    expect(printed()).toEqual([]);
    moveTo(1_000);
    expect(printed()).toEqual([
      'email → 1,000 in the last second (1,000 so far), sms → 5 in the last second (5 so far)',
    ]);
  });

  it('prints one line a second while the rate stays high, and every line again after a quiet second', () => {
    const { add, moveTo, printed } = startLog();
    add(30);
    moveTo(1_000);
    printed();

    add(30);
    moveTo(2_000);
    expect(printed()).toEqual(['email → 30 in the last second (60 so far)']);
    add(3);
    moveTo(3_000);
    expect(printed()).toEqual(['email → 3 in the last second (63 so far)']);
    add(3);
    expect(printed()).toEqual(Array(3).fill('email line'));
  });

  it('prints nothing in a second without deliveries', () => {
    const { add, moveTo, printed } = startLog();
    add(30);
    moveTo(1_000);
    printed();

    moveTo(2_000);
    moveTo(3_000);

    expect(printed()).toEqual([]);
  });

  it('prints the totals that are left when it is closed', () => {
    const { log, add, printed } = startLog();
    add(21);
    printed();

    log.close();

    expect(printed()).toEqual(['email → 21 in the last second (21 so far)']);
  });
});
