import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { PATIENCE } from '../src/http/limits.ts';
import { startTestApp, type TestApp } from './support/app.ts';
import { eventually } from './support/dispatch.ts';
import { drip } from './support/raw.ts';
import { call } from './support/service.ts';

/** A service that waits half a second for a body, and a notification in it that nobody dispatches. */
async function openApp(): Promise<{ app: TestApp; id: string }> {
  const app = await startTestApp({ patience: { ...PATIENCE, arrivalMs: 500 } });
  onTestFinished(app.stop);
  const reply = await call(app, 'POST', '/notifications', { payload: 'Hello', user_ids: [1] });
  return { app, id: (reply.body as { id: string }).id };
}

/** Writes to a connection of its own, which goes with the test. */
function write({ url }: TestApp, bytes: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  socket.write(bytes);
  return { read: () => text, closed: once(socket, 'close') };
}

const watch = (id: string, rest: string) => `GET /notifications/${id}/events HTTP/1.1\r\nHost: x\r\n${rest}`;
/** A body of which less comes than it says. */
const UNFINISHED = 'PUT /users/7 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{';
const WAITING = 'POST /notifications HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nPrefer: wait=20\r\n';

const statuses = (text: string) => text.match(/HTTP\/1\.1 \d+/g) ?? [];
const errors = ({ lines }: TestApp) => lines.filter(({ level }) => level >= 50);

describe('a stream of events', () => {
  it.each([
    ['a body', 'Content-Length: 2\r\n\r\n{}'],
    ['an empty body in chunks', 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ])('that was asked for with %s goes on to its end', async (_, rest) => {
    const { app, id } = await openApp();
    const { read } = write(app, watch(id, rest));
    await eventually(() => expect(read()).toContain('event: progress'));

    // What is begun later is over by then.
    await drip(app.url, UNFINISHED, 50);
    await call(app, 'POST', `/notifications/${id}/cancel`);
    await eventually(() => expect(read()).toMatch(/event: end\n.+\r\n0\r\n\r\n$/s));

    expect(statuses(read())).toEqual(['HTTP/1.1 200']);
    expect(errors(app)).toEqual([]);
  });

  it.each([
    ['its own', 'Content-Length: 900\r\n\r\n{'],
    ['that of the next request', `\r\n${UNFINISHED}`],
  ])('is cut without another answer when the body does not end: %s', async (_, rest) => {
    const { app, id } = await openApp();
    const { read, closed } = write(app, watch(id, rest));
    await closed;

    expect(statuses(read())).toEqual(['HTTP/1.1 200']);
    expect(read()).not.toContain('request_timeout');
    expect(errors(app)).toEqual([]);
  });
});

describe('a reply that takes its time', () => {
  it('is not taken for that to the next request, whose body does not end', async () => {
    const { app } = await openApp();
    const body = '{"payload":"Hello","user_ids":[1]}';
    const { read, closed } = write(app, `${WAITING}Content-Length: ${body.length}\r\n\r\n${body}${UNFINISHED}`);
    await closed;

    expect(read()).toBe('');
    expect(errors(app)).toEqual([]);
  });
});
