import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { findFreePort } from '../src/local/postgres.ts';
import { NoAnswerError } from '../src/notify/failures.ts';
import { watchNotification } from '../src/notify/watch.ts';
import { answer, runNotify, type Script, startNotify, startScripted } from './support/notify.ts';
import { killProcesses, waitFor } from './support/process.ts';

const ID = '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';
const EVENTS = `/notifications/${ID}/events`;
const TO_USERS = ['--payload', 'Your statement is ready', '--user-ids', '1,2'];
const TO_EVERYONE = ['--payload', 'Your statement is ready', '--everyone', '--yes'];

const COUNTS = {
  ...{ targeted: 2, published: 0, failed: 0, pending: 2, messages: 0 },
  suppressed: { unknown_user: 0, no_preferences: 0, opted_out: 0, no_contact: 0, canceled: 0, expired: 0 },
  by_channel: { email: 0, sms: 0 },
};
const DISPATCHING = {
  ...{ id: ID, status: 'dispatching', audience: { type: 'users', count: 2 } },
  ...{ started_at: '2026-01-05T08:30:00.000Z', completed_at: null, progress: 0, rate: 0, eta: null, counts: COUNTS },
};
const COMPLETED = {
  ...{ ...DISPATCHING, status: 'completed', completed_at: '2026-01-05T08:30:02.000Z', progress: 1, rate: null },
  counts: { ...COUNTS, published: 2, pending: 0, messages: 2, by_channel: { email: 2, sms: 1 } },
};
const PREVIEW = { estimated_seconds: 0.1, ...COUNTS, targeted: 1500, published: 1234 };

/** What a service answers to whom it refuses. */
const problem = (status: number, code: string, detail: string, more: object = {}) => ({
  ...{ type: 'about:blank', title: 'A title', status, detail, instance: '/requests/1', code },
  ...more,
});

const accept: Script = (response) => answer(response, 202, { id: ID });
const preview: Script = (response) => answer(response, 200, PREVIEW);
const end: Script = (response) => openStream(response).end(composeEvent('end', COMPLETED));

const openStream = (response: Parameters<Script>[0]) =>
  response.writeHead(200, { 'content-type': 'text/event-stream' });
const composeEvent = (name: string, data: object) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

afterAll(killProcesses);

describe('npm run notify, calling a service that fails', () => {
  it('repeats a call whose reply was lost under the same key, and sends once', async () => {
    const service = await startScripted({
      '/notifications': (response, asked, nth) => {
        if (nth === 1) response.destroy();
        else if (nth === 2) response.writeHead(502).end('<html>Bad Gateway</html>');
        else accept(response, asked, nth);
      },
      [EVENTS]: end,
    });
    const { code, stderr } = await runNotify(service, TO_USERS);
    const sent = service.asked.filter(({ path }) => path === '/notifications');

    expect(code).toBe(0);
    expect(sent).toHaveLength(3);
    expect(new Set(sent.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
    expect(sent[0]?.headers['idempotency-key']).toMatch(/^[\da-f-]{36}$/);
    expect(stderr.split('\n')).toEqual([
      expect.stringMatching(/^notify: no answer from http:\S+ \(.+\); trying again in 0\.5 s$/),
      `notify: ${service.url} answered 502 (Bad Gateway), and not as a notification service does; trying again in 1 s`,
      '',
    ]);
  });

  it('waits for as long as Retry-After says, but not for an hour', async () => {
    const refuse = (response: Parameters<Script>[0], seconds: string) =>
      answer(response, 429, problem(429, 'too_many_requests', 'Too many.'), { 'retry-after': seconds });
    const service = await startScripted({
      '/notifications': (response, _asked, nth) => refuse(response, nth === 1 ? '1' : '3600'),
    });
    const { code, stderr } = await runNotify(service, TO_USERS);

    expect(code).toBe(1);
    expect(stderr).toBe(
      'notify: 429 A title: Too many.; trying again in 1 s\nnotify: 429 A title: Too many.\nIt may be tried again in 1 h 0 min.\n',
    );
    expect(service.asked).toHaveLength(2);
  });

  it('says that nobody is there', async () => {
    const url = `http://127.0.0.1:${await findFreePort()}`;
    const { code, stdout, stderr } = await runNotify({ url }, TO_USERS);

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr.split('\n').slice(-2)).toEqual([`notify: no answer from ${url} (ECONNREFUSED)`, '']);
  });

  it.each([
    ['plain HTTP', () => createServer(), /\(ERR_SSL_WRONG_VERSION_NUMBER\)\n$/],
    // Its middle differs between the versions of OpenSSL that Node 20 and 24 have.
    ['TLS without a certificate', () => createTlsServer({}), /\(ERR_SSL_\S+_ALERT_HANDSHAKE_FAILURE\)\n$/],
  ])('says at once that https does not reach a service of %s', async (_what, create, reason) => {
    const server = create().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;

    const { code, stdout, stderr } = await runNotify({ url }, TO_USERS);

    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(reason),
    });
    expect(stderr).toContain(`notify: no TLS connection to ${url} (`);
  });

  it.each([
    ['SELF_SIGNED_CERT_IN_CHAIN', false],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', false],
    ['CERT_HAS_EXPIRED', false],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', false],
    ['ERR_TLS_CERT_ALTNAME_INVALID', false],
    ['EPROTO', false],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', false],
    ['ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', true],
    ['ERR_SSL_UNEXPECTED_EOF_WHILE_READING', true],
    ['ECONNRESET', true],
  ])('knows whether %s may have come after the call: %s', (code, isAfter) => {
    const failed = new TypeError('fetch failed', { cause: Object.assign(new Error('why'), { code }) });

    expect(new NoAnswerError('https://x', failed)).toMatchObject({ temporary: isAfter, uncertain: isAfter });
  });

  it('says that it may have been sent where the call broke off', async () => {
    const service = await startScripted({ '/notifications': (response) => response.destroy() });
    const notify = startNotify(service, TO_USERS);
    await waitFor('the first try', () => notify.output.stderr.includes('trying again'));
    notify.kill('SIGINT');

    expect(await notify.exited).toMatchObject({ code: 130 });
    expect(notify.output.stderr).toContain('It is not known whether the notification was accepted');
  });

  it('sends everyone only what was counted, within one percent, and explains a mismatch', async () => {
    const mismatch = problem(409, 'audience_mismatch', 'Another audience.', { recipients: 5678 });
    const service = await startScripted({
      '/notifications/preview': preview,
      '/notifications': (response) => answer(response, 409, mismatch),
    });
    const { code, stderr } = await runNotify(service, TO_EVERYONE);

    expect(service.asked[1]?.body).toEqual({
      ...{ payload: 'Your statement is ready', expected_recipients: 1234, tolerance: 12 },
    });
    expect(code).toBe(1);
    expect(stderr).toBe(
      'notify: the audience has changed since it was counted: 5,678 users would be told now. Nothing was sent; run it again to see the new counts.\n',
    );
  });

  it.each<[string, Script]>([
    ['a page', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Hello</html>')],
    ['other JSON', (response) => answer(response, 200, { id: '/../users' })],
    ['a redirect', (response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
    ['a page that is not found', (response) => response.writeHead(404).end('\u001B[31mNot here')],
    ['an answer without end', (response) => response.writeHead(200).end(Buffer.alloc(3_000_000, ' '))],
  ])('says that %s is no answer of a notification service', async (_what, script) => {
    const service = await startScripted({ '/notifications': script });
    const { code, stdout, stderr } = await runNotify(service, TO_USERS);

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(
      /^notify: http:\S+ (does not answer|answered \d+ \(.+\), and not) as a notification service does.*\n$/,
    );
    expect(stderr).not.toContain('\u001B');
  });

  it('shows what a stranger says without what a terminal would obey', async () => {
    const errors = [{ in: 'body', pointer: '/a\u001B[2J', detail: 'is\r\nwrong \u202Ehere' }];
    const said = problem(400, 'validation_failed', 'Not\u0007 \u009Bvalid', { title: '\u001B]0;mine', errors });
    const service = await startScripted({ '/notifications': (response) => answer(response, 400, said) });
    const { stderr } = await runNotify(service, TO_USERS);

    expect(stderr).toBe('notify: 400 ]0;mine: Not valid\n  body /a [2J: is wrong here\n');
  });
});

describe('npm run notify, watching', () => {
  it('comes back when the stream breaks, and goes on to the end', async () => {
    const service = await startScripted({
      '/notifications': accept,
      [EVENTS]: (response, asked, nth) => {
        if (nth === 1) openStream(response).end(`retry: 20\n${composeEvent('progress', DISPATCHING)}`);
        else if (nth === 2) openStream(response).write(': watching\n\nevent: pro', () => response.destroy());
        else if (nth === 3) answer(response, 503, problem(503, 'unavailable', 'Away.'));
        else end(response, asked, nth);
      },
    });
    const { code, stdout, stderr } = await runNotify(service, TO_USERS);

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n').slice(0, 4)).toEqual([
      ...[`Accepted as ${ID}`, 'dispatching: 0 %, 0/2 users, 0/s', 'no connection; trying again'],
      'completed: 100 %, 2/2 users',
    ]);
    expect(stdout).toMatch(/ {2}seconds +2\n {2}told\/s +1\n$/);
  });

  it.each<[string, Script, RegExp]>([
    ['may not', (response) => answer(response, 403, problem(403, 'scope_missing', 'No.')), /403 A title: No\./],
    ['finds no events', (response) => answer(response, 200, {}), /its events are no event stream/],
    ['gets an event that is none', (response) => openStream(response).end('event: end\ndata: [\n\n'), /is not JSON/],
    ['gets an event of another kind', (response) => openStream(response).end(composeEvent('end', {})), /id Invalid/],
    ['gets an event without end', (response) => openStream(response).end(`data: ${'x'.repeat(70_000)}`), /has no end/],
  ])('ends with 1 where it %s, and says that the notification goes on', async (_what, events, reason) => {
    const service = await startScripted({ '/notifications': accept, [EVENTS]: events });
    const { code, stderr } = await runNotify(service, TO_USERS);

    expect(code).toBe(1);
    expect(stderr).toMatch(reason);
    expect(stderr.trimEnd().split('\n').at(-1)).toBe(
      `The notification goes on. To cancel it: curl -X POST ${service.url}/notifications/${ID}/cancel`,
    );
  });
});

describe('watching a notification', () => {
  afterEach(() => void vi.useRealTimers());

  /** Watches what is scripted, and notes what is told. */
  async function watchScripted(events: Script) {
    const service = await startScripted({ [EVENTS]: events });
    const seen: string[] = [];
    const watcher = { show: () => void seen.push('progress'), miss: () => void seen.push('nothing') };
    const caller = { url: service.url, key: undefined, warn: () => undefined };
    const watching = watchNotification(caller, ID, watcher, new AbortController().signal);
    return { service, seen, watching };
  }

  it('goes on for as long as there are answers, and for five minutes without one', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { service, seen, watching } = await watchScripted((response, _asked, nth) => {
      // Each time four minutes after the last.
      vi.advanceTimersByTime(4 * 60_000);
      if (nth <= 3) openStream(response).end(`retry: 20\n${composeEvent('progress', DISPATCHING)}`);
      else response.destroy();
    });

    await expect(watching).rejects.toThrow(`no answer from ${service.url}`);
    expect(service.asked).toHaveLength(5);
    expect(seen).toEqual(['progress', 'progress', 'progress', 'nothing']);
  });

  it('takes a stream without a word for no answer, and a comment for one', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { service, seen, watching } = await watchScripted((response, _asked, nth) => {
      vi.advanceTimersByTime(4 * 60_000);
      if (nth === 1) openStream(response).end(`retry: 20\n${composeEvent('progress', DISPATCHING)}`);
      else if (nth === 2) openStream(response).end(': watching\n\n');
      else openStream(response).end();
    });

    await expect(watching).rejects.toThrow(`no answer from ${service.url} (a stream without events)`);
    expect(service.asked).toHaveLength(4);
    expect(seen).toEqual(['progress', 'nothing']);
  });

  it('waits as long as it is told to before it comes back', async () => {
    const askedAt: number[] = [];
    const { watching } = await watchScripted((response, asked, nth) => {
      askedAt.push(performance.now());
      if (nth === 1) openStream(response).end(`retry: 20\n${composeEvent('progress', DISPATCHING)}`);
      else if (nth === 2) answer(response, 503, problem(503, 'overloaded', 'Busy.'), { 'retry-after': '1' });
      else end(response, asked, nth);
    });

    expect(await watching).toMatchObject({ status: 'completed' });
    const [, refusedAt = 0, backAt = 0] = askedAt;
    expect(backAt - refusedAt).toBeGreaterThanOrEqual(1_000 - 1);
  });
});

describe('the key of npm run notify', () => {
  it('goes with every call', async () => {
    const service = await startScripted({ '/notifications': accept, [EVENTS]: end });
    const { stderr } = await runNotify(service, TO_USERS, { key: 'nk_test' });

    expect(service.asked.map(({ headers }) => headers.authorization)).toEqual(['Bearer nk_test', 'Bearer nk_test']);
    expect(stderr).toBe('');
  });

  it('brings a warning where it would travel unencrypted', async () => {
    // A name for this machine that does not say so.
    const notify = startNotify({ url: 'http://0.0.0.0:9' }, TO_USERS, { key: 'nk_test' });
    await waitFor('the warning', () => notify.output.stderr !== '');

    expect(notify.output.stderr).toMatch(/^notify: over plain HTTP, API_KEY travels unencrypted\n/);
  });

  it('is refused where no header could carry it', async () => {
    const { code, stderr } = await runNotify({ url: 'http://127.0.0.1' }, TO_USERS, { key: 'nk test' });

    expect(code).toBe(1);
    expect(stderr).toBe('The configuration is not valid:\n  API_KEY must be printable ASCII without spaces\n');
  });
});
