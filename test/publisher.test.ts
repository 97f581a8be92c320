import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Governor } from '../src/notifications/governor.ts';
import { createMeasures } from '../src/notifications/measures.ts';
import type { Message } from '../src/notifications/message.ts';
import { createPublisher, type Publisher } from '../src/notifications/publisher.ts';
import { getNotification } from '../src/notifications/service.ts';
import {
  accept,
  addUsers,
  createDeps,
  createLog,
  dispatchAll,
  eventually,
  openTestDatabase,
  range,
  readCounts,
  TOPIC_ARN,
  UNGOVERNED,
  UNSTOPPED,
} from './support/dispatch.ts';
import { type Sink, type SinkCall, startSink } from './support/sink.ts';

const REST = {
  ...{ topicArn: TOPIC_ARN, concurrency: 4, governor: UNGOVERNED, measures: createMeasures(), log: createLog().log },
  probeIntervalMs: 10,
};

let sink: Sink;
let publisher: Publisher;

beforeEach(async () => {
  sink = await startSink();
  publisher = createPublisher({ sns: sink.connect(), ...REST });
  // Backs off for no time at all: the pauses are random between zero and their bound.
  vi.spyOn(Math, 'random').mockReturnValue(0);
});

afterEach(() => vi.restoreAllMocks());

/** Messages to the users 1 to `count`, each with its user's id as the body. */
const compose = (count: number): Message[] =>
  range(1, count).map((user_id) => ({
    ...{ body: String(user_id), attributes: { email: '1' }, group_id: 'billing' },
    ...{ bytes: 300, channel_bits: 1, user_ids: [user_id] },
  }));

const bodiesOf = ({ entries }: Pick<SinkCall, 'entries'>) => entries.map(({ body }) => body);

const taken = { message_id: expect.stringMatching(/^[0-9a-f-]{36}$/) };

const REFUSED = { code: 'InvalidParameter', reason: 'the reason' };

describe('a batch that SNS takes', () => {
  it('holds ten messages at most, and gives each its own MessageId', async () => {
    const outcomes = await publisher.publish(compose(25), UNSTOPPED);

    const ids = new Map(sink.accepted.map(({ body, messageId }) => [body, messageId]));
    expect(outcomes).toEqual(range(1, 25).map((user) => ({ message_id: ids.get(String(user)) })));
    expect(sink.calls.map(({ entries }) => entries.length).toSorted((a, b) => a - b)).toEqual([5, 10, 10]);
  });

  it('is one of `concurrency` at a time', async () => {
    const release = sink.holdReplies();
    const publishing = publisher.publish(compose(100), UNSTOPPED);
    await eventually(() => expect(sink.calls).toHaveLength(4));

    expect(sink.calls).toHaveLength(4);
    release();
    await publishing;
    expect(sink.accepted).toHaveLength(100);
  });

  it('passes those of a page when it is a single one, in turns', async () => {
    const release = sink.holdReplies();
    const slow = publisher.publish(compose(200), UNSTOPPED);
    await eventually(() => expect(sink.calls).toHaveLength(4));
    const passing = range(1, 5).map(() => publisher.publish(compose(1), UNSTOPPED));

    release();
    await Promise.all(passing);
    const sizes = sink.calls.slice(4).map(({ entries }) => entries.length);
    await slow;

    // Four are under way at a time, and may reach the sink in another order.
    expect(sizes.slice(0, 14).filter((size) => size === 1)).toHaveLength(5);
    expect(sizes.slice(0, 6).filter((size) => size === 10).length).toBeGreaterThanOrEqual(2);
  });

  it('is not sent for nobody', async () => {
    expect(await publisher.publish([], UNSTOPPED)).toEqual([]);
    expect(sink.calls).toHaveLength(0);
  });
});

describe('a batch that SNS takes in part', () => {
  it('is sent again without what was taken', async () => {
    sink.answer(({ number }) => ({
      fail: ({ body }) =>
        number === 1 && ['3', '7', '8'].includes(body) ? { code: 'InternalFailure', senderFault: false } : undefined,
    }));

    const outcomes = await publisher.publish(compose(10), UNSTOPPED);

    expect(outcomes).toEqual(range(1, 10).map(() => taken));
    expect(sink.calls.map(bodiesOf)).toEqual([range(1, 10).map(String), ['3', '7', '8']]);
  });

  it('ends at once for a message at fault itself', async () => {
    sink.answer(() => ({
      fail: ({ body }) =>
        body === '4' ? { code: REFUSED.code, reason: REFUSED.reason, senderFault: true } : undefined,
    }));

    const outcomes = await publisher.publish(compose(10), UNSTOPPED);

    expect(outcomes).toEqual(range(1, 10).map((user) => (user === 4 ? REFUSED : taken)));
    expect(sink.calls).toHaveLength(1);
  });

  it('ends within bounds for a message that SNS never takes, by no fault of its own', async () => {
    const reason = 'try later';
    sink.answer(() => ({
      fail: ({ body }) => (body === '4' ? { code: 'InternalFailure', reason, senderFault: false } : undefined),
    }));

    const outcomes = await publisher.publish(compose(10), UNSTOPPED);

    expect(outcomes[3]).toEqual({ code: 'InternalFailure', reason });
    expect(outcomes.toSpliced(3, 1)).toEqual(range(1, 9).map(() => taken));
    expect(sink.calls.slice(1).map(bodiesOf)).toEqual(range(2, 20).map(() => ['4']));
  });

  it.each([
    { code: 'Throttled', senderFault: true },
    { code: 'ThrottlingException', senderFault: false },
  ])('is waited out while single messages are throttled: $code', async (fault) => {
    sink.answer(({ number }) => ({ fail: ({ body }) => (body === '2' && number <= 40 ? fault : undefined) }));

    expect(await publisher.publish(compose(2), UNSTOPPED)).toEqual([taken, taken]);
    expect(sink.calls).toHaveLength(41);
  });

  it('gives SNS its time with a message although others of the batch are throttled', async () => {
    // A hundredth of what it may be: 0.7 s for twenty tries, and not the 0.02 s of what is only throttled.
    vi.spyOn(Math, 'random').mockReturnValue(0.01);
    const [faulty, throttled] = ['InternalFailure', 'Throttled'].map((code) => ({ code, senderFault: false }));
    sink.answer(({ number }) => ({
      fail: ({ body }) => (body === '1' ? faulty : number <= 20 ? throttled : undefined),
    }));
    const begun = performance.now();

    const outcomes = await publisher.publish(compose(2), UNSTOPPED);

    expect(outcomes).toEqual([expect.objectContaining({ code: 'InternalFailure' }), taken]);
    expect(performance.now() - begun).toBeGreaterThan(400);
  });

  it('does not count throttling as a fault of SNS', async () => {
    sink.answer(({ number }) => ({
      fail: () => ({ code: number % 2 ? 'Throttled' : 'InternalFailure', senderFault: false }),
    }));

    await publisher.publish(compose(1), UNSTOPPED);

    expect(sink.calls).toHaveLength(40);
  });
});

describe('a call that SNS refuses', () => {
  it.each(['InvalidParameter', 'InvalidParameterValue', 'ValidationError', 'BatchRequestTooLong'])(
    'isolates the message at fault: %s',
    async (code) => {
      const isPoison = (call: SinkCall) => bodiesOf(call).includes('6');
      sink.answer((call) => (isPoison(call) ? { refuse: { status: 400, code, message: REFUSED.reason } } : {}));

      const outcomes = await publisher.publish(compose(10), UNSTOPPED);

      expect(outcomes).toEqual(range(1, 10).map((user) => (user === 6 ? { ...REFUSED, code } : taken)));
      expect(sink.calls).toHaveLength(11);
    },
  );

  it.each([
    { status: 400, code: 'Throttling' },
    { status: 400, code: 'Throttled' },
    { status: 429, code: 'TooManyRequestsException' },
    { status: 400, code: 'KMSThrottling' },
    { status: 500, code: 'InternalError' },
    { status: 503, code: 'ServiceUnavailable' },
    { status: 403, code: 'AuthorizationError' },
    { status: 403, code: 'ExpiredToken' },
    { status: 404, code: 'NotFound' },
    { status: 400, code: 'InvalidParameter', message: 'Invalid parameter: TopicArn' },
  ])('is waited out when no message is at fault: $status $code $message', async (refuse) => {
    sink.answer(({ number }) => (number <= 30 ? { refuse } : {}));

    expect(await publisher.publish(compose(2), UNSTOPPED)).toEqual([taken, taken]);
    expect(sink.calls).toHaveLength(31);
  });
});

describe('the governor', () => {
  it('admits every try, and learns what was taken and what was throttled, without a line in the log each', async () => {
    const seen: [string, ...number[]][] = [];
    const governor: Governor = {
      batchMax: 3,
      admit: async (messages) => void seen.push(['admit', messages]),
      report: ({ accepted, throttled }) => void seen.push(['report', accepted, throttled]),
    };
    const { log, lines } = createLog();
    sink.answer(({ number }) => ({
      ...(number === 1 && { refuse: { status: 400, code: 'Throttling' } }),
      fail: ({ body }) => (number === 2 && body === '2' ? { code: 'Throttled', senderFault: true } : undefined),
    }));

    await createPublisher({ sns: sink.connect(), ...REST, governor, log }).publish(compose(3), UNSTOPPED);

    expect(seen.join(' ')).toBe('admit,3 report,0,3 admit,3 report,2,1 admit,1 report,1,0');
    expect(lines).toEqual([]);
  });
});

describe('a call without an answer', () => {
  it('is made again when the connection is dropped', async () => {
    sink.answer(({ number }) => (number <= 5 ? { connection: 'drop' } : {}));

    expect(await publisher.publish(compose(2), UNSTOPPED)).toEqual([taken, taken]);
    expect(sink.accepted).toHaveLength(2);
  });

  it('is made again with the same messages when only the answer is lost', async () => {
    sink.answer(({ number }) => (number === 1 ? { connection: 'lose' } : {}));

    const outcomes = await publisher.publish(compose(2), UNSTOPPED);

    expect(sink.accepted.map(({ body }) => body)).toEqual(['1', '2', '1', '2']);
    expect(outcomes).toEqual(sink.accepted.slice(2).map(({ messageId }) => ({ message_id: messageId })));
  });

  it('is given up after the time-out and made again', async () => {
    const sns = sink.connect(100);
    const impatient = createPublisher({ sns, ...REST });
    sink.answer(({ number }) => (number === 1 ? { connection: 'hang' } : {}));

    expect(await impatient.publish(compose(2), UNSTOPPED)).toEqual([taken, taken]);
    expect(sink.calls).toHaveLength(2);
  });

  it('ends with the work on its page, whether SNS is silent, or it waits to try again or for its turn', async () => {
    const leaving = new AbortController();
    vi.mocked(Math.random).mockReturnValue(1);
    sink.answer(({ number }) => (number === 1 ? { connection: 'drop' } : { connection: 'hang' }));
    const publishing = publisher.publish(compose(200), leaving.signal);
    await eventually(() => expect(sink.calls.length).toBeGreaterThanOrEqual(4));
    const calls = sink.calls.length;

    leaving.abort();

    await expect(publishing).rejects.toThrow('aborted');
    sink.answer(() => ({}));
    expect(await publisher.publish(compose(1), UNSTOPPED)).toEqual([taken]);
    expect(sink.calls).toHaveLength(calls + 1);
  });
});

describe('a dispatch', () => {
  it('records whom SNS refused, with code and reason, and tells the others', async () => {
    const db = (await openTestDatabase())();
    await addUsers(db, range(1, 25));
    const id = await accept(db);
    const poison = (body: string) => body.includes('user4@') || body.includes('user17@');
    sink.answer(() => ({ fail: ({ body }) => (poison(body) ? { ...REFUSED, senderFault: true } : undefined) }));

    await dispatchAll(createDeps({ db, sns: sink.connect() }, { pageUsers: 20 }));

    expect(await getNotification(db, id, null)).toMatchObject({ status: 'completed' });
    expect(await readCounts(db, id)).toMatchObject({
      targeted: 25,
      published: 23,
      failed: 2,
      messages: 23,
      pending: 0,
    });
    const pages = await db.page.findMany({ where: { notification_id: id }, orderBy: { number: 'asc' } });
    expect(pages.flatMap(({ failures }) => failures)).toEqual([4, 17].map((user_id) => ({ user_id, ...REFUSED })));
    expect(pages.flatMap(({ user_ids }) => user_ids)).toEqual(range(1, 25).filter((user) => user !== 4 && user !== 17));
  });

  it('fails nobody while SNS throttles, breaks, hangs up and loses its answers', async () => {
    const db = (await openTestDatabase())();
    await addUsers(db, range(1, 120), ['email', 'sms']);
    const id = await accept(db);
    const faults = [
      { refuse: { status: 400, code: 'Throttling' } },
      { refuse: { status: 500, code: 'InternalError' } },
      { connection: 'drop' as const },
      { connection: 'lose' as const },
      {
        fail: ({ id: entry }: { id: string }) =>
          Number(entry) % 2 ? { code: 'InternalFailure', senderFault: false } : undefined,
      },
      {},
    ];
    sink.answer(({ number }) => faults[number % faults.length] ?? {});

    await dispatchAll(createDeps({ db, sns: sink.connect() }, { pageUsers: 50 }));

    expect(await readCounts(db, id)).toMatchObject({
      targeted: 120,
      published: 120,
      failed: 0,
      messages: 120,
      pending: 0,
    });
    expect(new Set(sink.accepted.map(({ body }) => JSON.parse(body).id)).size).toBe(120);
  });
});
