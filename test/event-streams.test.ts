import { setMaxListeners } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import Fastify, { type FastifyServerOptions } from 'fastify';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { ANONYMOUS } from '../src/auth/principal.ts';
import { ServiceError } from '../src/errors.ts';
import { composeEvents, createEventSender, type Reading, type Watch } from '../src/http/events.ts';
import { renderError } from '../src/http/problem.ts';
import { createLog, eventually, range, UNSTOPPED } from './support/dispatch.ts';
import { open, watch } from './support/events.ts';
import { call } from './support/service.ts';

/** Streams that a process has open at most. */
const WATCHERS_MAX = 1_000;
/** Those of one principal. */
const WATCHERS_PER_PRINCIPAL_MAX = 100;

/** A server of nothing but a stream of what `read` gives, and of its connections. `Authorization` names the caller. */
async function serveEvents(read: () => Promise<Reading>, options: FastifyServerOptions = {}) {
  const app = Fastify(options);
  const sockets: Socket[] = [];
  app.server.on('connection', (socket) => sockets.push(socket));
  app.setErrorHandler(renderError);
  app.decorateRequest('principal', null);
  app.addHook('onRequest', async (request) => {
    request.principal = { ...ANONYMOUS, id: request.headers.authorization ?? ANONYMOUS.id };
  });
  const stopping = new AbortController();
  // As in the service: every stream listens.
  setMaxListeners(0, stopping.signal);
  const sendEvents = createEventSender(stopping.signal, async (_request, work) => work);
  app.get('/', async (request, reply) => {
    await sendEvents(request, reply, read);
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    stopping.abort();
    app.server.closeAllConnections();
    await app.close();
  });
  return { sockets, url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/` };
}

/** More than the buffers of both ends of a connection take: whoever does not read it holds up the next one. */
const LARGE = 'x'.repeat(16 * 1024 * 1024);
/** Room for what is no data in an event and its reply. */
const FRAME_BYTES = 4_096;

const numbered = (n: number, isLast = false): Reading => ({ data: JSON.stringify({ n, filler: LARGE }), isLast });

describe('a client that does not read', () => {
  it('has one event waiting for it, and is shown the latest state as soon as it reads', async () => {
    let [reads, isLast] = [0, false];
    const { url, sockets } = await serveEvents(async () => numbered(reads++, isLast));

    const stream = await watch<{ n: number }>(url);
    stream.response.pause();
    await eventually(() => expect(reads).toBeGreaterThanOrEqual(4));
    const waiting = sockets.map(({ writableLength }) => writableLength);
    isLast = true;
    const readsBefore = reads;
    await eventually(() => expect(reads).toBeGreaterThan(readsBefore));
    stream.response.resume();
    await stream.closed;

    expect(waiting[0]).toBeGreaterThan(0);
    expect(waiting[0]).toBeLessThan(LARGE.length + FRAME_BYTES);
    expect(stream.events.map(({ event, data: { n } }) => [event, n])).toEqual([
      ['progress', 0],
      ['end', expect.any(Number)],
    ]);
    expect(stream.events[1]?.data.n).toBeGreaterThanOrEqual(readsBefore);
    expect(stream.isWhole()).toBe(true);
  });

  it('is cut off when its connection has been still for as long as one may be', async () => {
    let reads = 0;
    const { url, sockets } = await serveEvents(async () => numbered(reads++), { connectionTimeout: 1_000 });

    await open(url);

    await eventually(() => expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true]));
    expect(reads).toBeGreaterThan(1);
  });
});

describe('the watchers of a process', () => {
  it('are a thousand at most; one more is told to come back, and may when another has left', async () => {
    const { url } = await serveEvents(async () => ({ data: '{}', isLast: false }));
    const callers = range(1, WATCHERS_MAX / WATCHERS_PER_PRINCIPAL_MAX).map((n) => ({ authorization: `key:${n}` }));
    const openAll = (headers: Record<string, string>) =>
      range(1, WATCHERS_PER_PRINCIPAL_MAX).map(() => open(url, headers));
    const responses = await Promise.all(callers.flatMap(openAll));

    const refused = await call({ url }, 'GET', '');
    responses[0]?.destroy();

    expect(responses.every(({ statusCode }) => statusCode === 200)).toBe(true);
    expect(refused).toMatchObject({ status: 503, body: { code: 'overloaded' } });
    expect(refused.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
    await eventually(async () => expect((await call({ url }, 'GET', '')).status).toBe(200));
  });

  it('are a hundred of one caller at most; one more is told to come back, and others are not', async () => {
    const { url } = await serveEvents(async () => ({ data: '{}', isLast: false }));
    const [one, other] = [{ authorization: 'key:one' }, { authorization: 'key:other' }];
    const responses = await Promise.all(range(1, WATCHERS_PER_PRINCIPAL_MAX).map(() => open(url, one)));

    const refused = await call({ url }, 'GET', '', undefined, one);
    const others = await open(url, other);
    responses[0]?.destroy();

    expect([...responses, others].every(({ statusCode }) => statusCode === 200)).toBe(true);
    expect(refused).toMatchObject({ status: 429, body: { code: 'too_many_requests' } });
    expect(refused.headers.get('retry-after')).toBe('10');
    await eventually(async () => expect((await open(url, one)).statusCode).toBe(200));
  });

  it('do not count when they are refused', async () => {
    const { url } = await serveEvents(async () => {
      throw new ServiceError('notification_not_found');
    });

    for (const _ of range(1, WATCHERS_MAX / 50)) {
      const replies = await Promise.all(range(1, 60).map(() => call({ url }, 'GET', '')));
      expect(replies.every(({ status }) => status === 404)).toBe(true);
    }
  });
});

const { log, lines } = createLog();

/** The texts of a stream whose state does not change, unless the test says otherwise. */
const compose = (overrides: Partial<Watch> = {}) => {
  const reading = { data: '{}', isLast: false };
  const texts = composeEvents({
    ...{ first: reading, read: async () => reading, isBusy: () => false, signal: UNSTOPPED, log },
    ...overrides,
  });
  onTestFinished(async () => void (await texts.return(undefined)));
  return texts;
};

/** Lets time pass, for whoever asks how much has. */
function passTime(ms: number): void {
  const now = performance.now();
  const clock = vi.spyOn(performance, 'now').mockReturnValue(now + ms);
  onTestFinished(() => clock.mockRestore());
}

describe('a stream', () => {
  it('says something when nothing has changed for 15 s', async () => {
    const texts = compose();

    await texts.next();
    passTime(15_000);

    expect(await texts.next()).toEqual({ done: false, value: expect.stringMatching(/^: .+\n\n$/) });
  });

  it('ends after five minutes, without an event that would say it is the last', async () => {
    const texts = compose();

    const first = await texts.next();
    passTime(5 * 60_000);

    expect(first.value).toBe('retry: 2000\nevent: progress\ndata: {}\n\n');
    expect(await texts.next()).toEqual({ done: true, value: undefined });
  });

  it('ends at once when it is stopped, though what it waits for does not answer', async () => {
    const stopping = new AbortController();
    let asked = false;
    const read = () => {
      asked = true;
      return new Promise<never>(() => undefined);
    };
    const texts = compose({ signal: stopping.signal, read });

    await texts.next();
    const next = texts.next();
    await eventually(() => expect(asked).toBe(true));
    stopping.abort();

    expect(await next).toEqual({ done: true, value: undefined });
  });

  it('ends when it cannot be read what is watched, and tells the log why', async () => {
    const error = new Error('a fault of ours');
    const texts = compose({ read: () => Promise.reject(error) });

    await texts.next();

    expect(await texts.next()).toEqual({ done: true, value: undefined });
    expect(lines).toMatchObject([{ level: 50, err: { message: 'a fault of ours' } }]);
  });
});
