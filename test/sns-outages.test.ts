import { describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { createMeasures } from '../src/notifications/measures.ts';
import type { Message } from '../src/notifications/message.ts';
import { createPublisher } from '../src/notifications/publisher.ts';
import { createLog, eventually, range, TOPIC_ARN, UNGOVERNED, UNSTOPPED } from './support/dispatch.ts';
import { startProxy } from './support/proxy.ts';
import { call, startTestService } from './support/service.ts';
import { startSink } from './support/sink.ts';

const AWAY = { msg: 'SNS is away; one call a second goes until it answers' };
const BACK = { msg: 'SNS answers again' };
const PROBE_INTERVAL_MS = 200;
/** A call has been aborted by then, whatever its client does. */
const ABORTED_WITHIN_MS = 6_000;

/** Messages to the users 1 to `count`. */
const compose = (count: number): Message[] =>
  range(1, count).map((user_id) => ({
    ...{ body: String(user_id), attributes: { email: '1' }, group_id: 'billing' },
    ...{ bytes: 300, channel_bits: 1, user_ids: [user_id] },
  }));

/** A publisher on a sink, which probes more often than in production, and when each call reached the sink. */
async function openPublisher({ concurrency = 8, timeoutMs = 10_000 } = {}) {
  const sink = await startSink();
  const { log, lines } = createLog();
  const measures = createMeasures();
  const rest = { topicArn: TOPIC_ARN, governor: UNGOVERNED, probeIntervalMs: PROBE_INTERVAL_MS };
  const publisher = createPublisher({ sns: sink.connect(timeoutMs), concurrency, measures, log, ...rest });
  const calledAt: number[] = [];
  const answer: typeof sink.answer = (plan) =>
    sink.answer((received) => {
      calledAt.push(performance.now());
      return plan(received);
    });
  return { sink, publisher, measures, lines, calledAt, answer };
}

describe('an SNS that is away', () => {
  it.each([
    { trouble: 'hangs up', answered: { connection: 'drop' as const } },
    { trouble: 'answers 503', answered: { refuse: { status: 503, code: 'ServiceUnavailable' } } },
  ])('is asked by one call at a time, in a while, by all batches together: $trouble', async ({ answered }) => {
    const { sink, publisher, measures, lines, calledAt, answer } = await openPublisher();
    answer(() => answered);
    const publishing = [publisher.publish(compose(200), UNSTOPPED), publisher.publish(compose(1), UNSTOPPED)];
    await eventually(() => expect(measures.publish.outage).toBe(true));
    // Those that were under way when it began, and the first one that finds out.
    await eventually(() => expect(calledAt.length).toBeGreaterThanOrEqual(9));
    const [before, begun] = [calledAt.length, performance.now()];

    await eventually(() => expect(calledAt.length).toBeGreaterThanOrEqual(before + 5));
    const [asked, took] = [calledAt.length - before, performance.now() - begun];
    answer(() => ({}));
    await Promise.all(publishing);

    expect(asked).toBeLessThanOrEqual(Math.ceil(took / PROBE_INTERVAL_MS) + 1);
    expect(sink.accepted).toHaveLength(201);
    expect(measures.publish.outage).toBe(false);
    expect(lines.filter(({ msg }) => msg === AWAY.msg || msg === BACK.msg)).toEqual([
      expect.objectContaining(AWAY),
      expect.objectContaining(BACK),
    ]);
  });

  it('is not taken for away when now and then an answer is lost', async () => {
    const { sink, publisher, lines, answer } = await openPublisher();
    answer(({ number }) => (number % 5 === 0 ? { connection: 'lose' } : {}));

    const outcomes = await publisher.publish(compose(400), UNSTOPPED);

    expect(outcomes.every((outcome) => 'message_id' in outcome)).toBe(true);
    expect(sink.accepted.length).toBeGreaterThan(400);
    expect(lines).not.toContainEqual(expect.objectContaining(AWAY));
  });

  it('is asked by another batch when the one that was to find out has left', async () => {
    const { publisher, calledAt, answer } = await openPublisher({ concurrency: 2 });
    const leaving = new AbortController();
    answer(({ number }) => ({ connection: number <= 3 ? 'drop' : 'hang' }));
    const left = publisher.publish(compose(1), leaving.signal);
    await eventually(() => expect(calledAt).toHaveLength(4));
    const staying = publisher.publish(compose(1), UNSTOPPED);
    answer(() => ({}));

    leaving.abort();

    await expect(left).rejects.toThrow('aborted');
    expect(await staying).toEqual([{ message_id: expect.any(String) }]);
  });

  it('may keep a call waiting for no more than 6 s, even where the client would wait for ever', async () => {
    const { publisher, measures, calledAt, answer } = await openPublisher({ timeoutMs: 60_000 });
    const observe = vi.spyOn(measures, 'observeCall');
    answer(({ number }) => (number === 1 ? { connection: 'hang' } : {}));

    await publisher.publish(compose(1), UNSTOPPED);

    expect((calledAt[1] ?? 0) - (calledAt[0] ?? 0)).toBeLessThan(ABORTED_WITHIN_MS);
    expect(observe.mock.calls.map(([result]) => result)).toEqual(['failed', 'taken']);
  });
});

describe('a service whose SNS is away', () => {
  it('accepts notifications, is not ready, and dispatches when SNS is back', async () => {
    const { hostname: host, port } = new URL(inject('emulatorUrl'));
    const proxy = await startProxy({ host, port: Number(port) });
    vi.stubEnv('AWS_ENDPOINT_URL', `http://127.0.0.1:${proxy.port}`);
    onTestFinished(() => void vi.unstubAllEnvs());
    const service = await startTestService();
    onTestFinished(() => service.stop());
    await call(service, 'PUT', '/users/1', { email: 'ada@example.com' });
    await call(service, 'PUT', '/preferences/1', { email_enabled: true });

    proxy.behave('reset');
    const { status, body } = await call(service, 'POST', '/notifications', { payload: 'Hello', user_ids: [1] });
    const ready = await call(service, 'GET', '/health/ready');
    await eventually(() => expect(service.logs).toContainEqual(expect.objectContaining(AWAY)));
    const { text } = await call(service, 'GET', '/metrics');
    proxy.behave('pass');

    expect(status).toBe(202);
    expect(ready).toMatchObject({ status: 503, body: { checks: { database: 'ok', topic: 'failed' } } });
    expect(text).toMatch(/^publish_outage 1$/m);
    expect(text).toMatch(/^publish_call_duration_seconds_count\{result="failed"\} [1-9]/m);
    const location = `/notifications/${(body as { id: string }).id}`;
    const found = async () => (await call(service, 'GET', location)).body;
    await expect.poll(found, { timeout: 15_000 }).toMatchObject({ status: 'completed', counts: { published: 1 } });
    expect(service.logs).toContainEqual(expect.objectContaining(BACK));
  });
});
