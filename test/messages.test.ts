import { describe, expect, it } from 'vitest';
import { createMeasures } from '../src/notifications/measures.ts';
import {
  composeMessages,
  fitsMessage,
  MESSAGE_BYTES_MAX,
  type Message,
  messageSchema,
} from '../src/notifications/message.ts';
import type { ClaimedPage } from '../src/notifications/pages.ts';
import { createPublisher } from '../src/notifications/publisher.ts';
import type { Recipient } from '../src/notifications/recipients.ts';
import { createLog, range, TOPIC_ARN, UNGOVERNED, UNSTOPPED } from './support/dispatch.ts';
import { startSink } from './support/sink.ts';

const NOTIFICATION_ID = '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';

const claim = (given: Partial<ClaimedPage> = {}): ClaimedPage => ({
  ...{ notification_id: NOTIFICATION_ID, number: 1, first_user_id: 1, last_user_id: 2_147_483_647, attempt: 1 },
  ...{ claimed_at: new Date('2026-01-05T08:30:00.004Z'), everyone: true, channels: ['email', 'sms'] },
  ...{ subject: null, payload: 'Your statement is ready', created_by: 'billing', traceparent: null },
  ...{ retrying: null, withdrawn: null },
  ...given,
});

/** The longest that the API lets in: 254 characters, every one of the local part escaped in JSON. */
const LONGEST_EMAIL = `"${'"'.repeat(62)}"@${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(54)}.example`;
const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

const LONGEST: Recipient = { user_id: 2_147_483_647, addresses: { email: LONGEST_EMAIL, sms: '+123456789012345' } };

const recipients = (count: number): Recipient[] =>
  range(1, count).map((user_id) => ({ user_id, addresses: { email: `user${user_id}@example.com` } }));

const parse = ({ body }: Message) => messageSchema.parse(JSON.parse(body));

/** What SNS counts: the body, and name, type and value of each attribute. */
function countBytes({ body, attributes }: Message): number {
  const texts = Object.entries(attributes).flatMap(([name, value]) => [name, 'String', value]);
  return Buffer.byteLength([body, ...texts].join(''));
}

/** The longest text of repeated `unit` that is accepted, beside this subject. */
function findLongestPayload(unit: string, subject: string | null = null): string {
  let [fits, tooLong] = [1, MESSAGE_BYTES_MAX];
  while (tooLong - fits > 1) {
    const middle = Math.floor((fits + tooLong) / 2);
    if (fitsMessage(subject, unit.repeat(middle))) fits = middle;
    else tooLong = middle;
  }
  return unit.repeat(fits);
}

const ALPHABETS = ['a', '"', '\\', '\n', '\u0001', 'é', '字', '😀', '\u2028', '\ufffe', '\uffff', '<&>', 'a😀"\uffff'];

describe('the longest accepted payload', () => {
  it.each(ALPHABETS)('fits a message to the recipient with the longest addresses: %j', (unit) => {
    const payload = findLongestPayload(unit, unit.repeat(10));
    const page = claim({ subject: unit.repeat(10), payload, traceparent: TRACEPARENT });

    const [message, ...more] = composeMessages(page, [LONGEST], 1000);

    expect(more).toEqual([]);
    if (message === undefined) throw new Error('There is no message.');
    expect(countBytes(message)).toBeLessThanOrEqual(message.bytes);
    expect(message.bytes).toBeLessThanOrEqual(MESSAGE_BYTES_MAX);
    expect(parse(message).data).toMatchObject({ subject: unit.repeat(10), payload });
  });

  it('uses nearly all of a message', () => {
    expect(findLongestPayload('a').length).toBeGreaterThan(MESSAGE_BYTES_MAX - 2_048);
    expect(findLongestPayload('字').length).toBeGreaterThan((MESSAGE_BYTES_MAX - 2_048) / 3);
  });

  it('leaves room for some more recipients, and starts another message for the rest', () => {
    const page = claim({ payload: findLongestPayload('a') });

    const messages = composeMessages(page, recipients(200), 100);

    expect(messages.length).toBeGreaterThan(2);
    expect(Math.max(...messages.map(countBytes))).toBeLessThanOrEqual(MESSAGE_BYTES_MAX);
    expect(messages.flatMap((message) => parse(message).data.recipients)).toHaveLength(200);
  });
});

describe('a packed message', () => {
  it('holds at most so many recipients, and never crosses sets of channels', () => {
    const mixed: Recipient[] = range(1, 100).map((user_id) => ({
      user_id,
      addresses: {
        ...(user_id % 3 !== 0 && { email: 'a@example.com' }),
        ...(user_id % 3 !== 1 && { sms: '+15550000001' }),
      },
    }));

    const messages = composeMessages(claim(), mixed, 10);

    expect(messages.map(({ user_ids }) => user_ids.length)).toEqual([10, 10, 10, 4, 10, 10, 10, 3, 10, 10, 10, 3]);
    for (const message of messages) {
      const channels = Object.keys(message.attributes).toSorted();
      const body = parse(message);
      for (const { user_id: _, ...addresses } of body.data.recipients) {
        expect(Object.keys(addresses).toSorted()).toEqual(channels);
      }
      expect(body.data.recipients.map(({ user_id }) => user_id)).toEqual(message.user_ids);
    }
    const told = messages.flatMap(({ user_ids }) => user_ids);
    expect(told.toSorted((a, b) => a - b)).toEqual(range(1, 100));
  });

  it('stays within the limit, counted in bytes, however long its addresses are', () => {
    const addresses = { email: `${'字'.repeat(80)}@example.com`, sms: '+123456789012345' };
    const many = range(1, 3_000).map((user_id) => ({ user_id, addresses }));

    const messages = composeMessages(claim({ payload: '字'.repeat(20_000) }), many, 1_000);

    expect(Math.max(...messages.map(countBytes))).toBeLessThanOrEqual(MESSAGE_BYTES_MAX);
    expect(Math.max(...messages.slice(0, -1).map(countBytes))).toBeGreaterThan(MESSAGE_BYTES_MAX - 1_024);
    expect(messages.flatMap((message) => parse(message).data.recipients)).toHaveLength(3_000);
  });

  it('has an id of its own for each message, the same whenever it is composed', () => {
    const ids = () => composeMessages(claim(), recipients(95), 10).map((message) => parse(message).id);

    expect(ids()).toEqual(range(0, 9).map((index) => `${NOTIFICATION_ID}/${index * 10 + 1}`));
    expect(ids()).toEqual(ids());
  });
});

describe('the body of a message', () => {
  it.each(['"o\'hara"@example.com', '\\@example.com', 'müller@example.com', '字😀@example.com', '<&>@example.com'])(
    'carries the address %s as it is, and no attribute does',
    (email) => {
      const [message] = composeMessages(claim(), [{ user_id: 7, addresses: { email } }], 1);

      if (message === undefined) throw new Error('There is no message.');
      expect(parse(message).data.recipients).toEqual([{ user_id: 7, email }]);
      expect(message.attributes).toEqual({ email: '1' });
    },
  );

  it('is a CloudEvent that holds no character SQS refuses', () => {
    const text = String.fromCharCode(...range(1, 31), 0x7f, 0x2028, 0xfffd, 0xfffe, 0xffff);
    const email = `${text}@example.com`;
    const [message] = composeMessages(
      claim({ subject: text, payload: text }),
      [{ user_id: 7, addresses: { email } }],
      1,
    );

    if (message === undefined) throw new Error('There is no message.');
    expect(message.body).toMatch(/^[\t\n\r\u0020-\ud7ff\ue000-\ufffd]*$/);
    expect(parse(message)).toEqual({
      ...{ specversion: '1.0', type: 'notification.dispatched.v1', source: '/notifications' },
      ...{ id: `${NOTIFICATION_ID}/7`, time: '2026-01-05T08:30:00.004Z', datacontenttype: 'application/json' },
      data: { notification_id: NOTIFICATION_ID, subject: text, payload: text, recipients: [{ user_id: 7, email }] },
    });
  });
});

describe('a call to SNS', () => {
  it.each([
    { payload: 'a'.repeat(100_000), perCall: 2 },
    { payload: findLongestPayload('a'), perCall: 1 },
    { payload: '字"'.repeat(8_000), perCall: 6 },
    { payload: 'a'.repeat(25_000), perCall: 10 },
  ])('holds no more than 256 KiB: $perCall messages', async ({ payload, perCall }) => {
    const sink = await startSink();
    const rest = { governor: UNGOVERNED, measures: createMeasures(), log: createLog().log };
    const deps = { sns: sink.connect(), topicArn: TOPIC_ARN, concurrency: 2, ...rest };
    const messages = composeMessages(claim({ payload, traceparent: TRACEPARENT }), recipients(perCall * 3), 1);

    const outcomes = await createPublisher(deps).publish(messages, UNSTOPPED);

    expect(outcomes).toHaveLength(perCall * 3);
    expect(sink.calls.map(({ entries }) => entries.length)).toEqual([perCall, perCall, perCall]);
    expect(Math.max(...sink.calls.map(({ bytes }) => bytes))).toBeLessThanOrEqual(262_144);
    expect(sink.accepted.map(({ body }) => body).toSorted()).toEqual(messages.map(({ body }) => body).toSorted());
  });
});
