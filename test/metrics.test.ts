import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServiceError } from '../src/errors.ts';
import { startTestApp, type TestApp } from './support/app.ts';
import { sendRaw } from './support/raw.ts';
import { call } from './support/service.ts';

let app: TestApp;

beforeAll(async () => {
  app = await startTestApp();
});

afterAll(() => app.stop());

const readMetrics = async (service: { url: string } = app) => (await call(service, 'GET', '/metrics')).text;

describe('GET /metrics', () => {
  it('counts replies by method, pattern of the route and status', async () => {
    await call(app, 'GET', '/users/41');
    await call(app, 'GET', '/users/42');
    await call(app, 'DELETE', '/users');

    const text = await readMetrics();
    expect(text).toMatch(/^# TYPE http_request_duration_seconds histogram$/m);
    expect(text).toContain('http_request_duration_seconds_count{method="GET",route="/users/:user_id",status="404"} 2');
    expect(text).toContain('http_request_duration_seconds_count{method="DELETE",route="/users",status="405"} 1');
  });

  it('shows no path and no method that a caller has made up', async () => {
    for (const path of ['/secret-1', '/secret-2/x', '/users/%zz', '/users/secret-3?secret-4'])
      await call(app, 'GET', path);
    for (const method of ['PROPFIND', 'LINK']) await call(app, method, '/users');

    const text = await readMetrics();
    expect(text).not.toMatch(/secret|%zz|PROPFIND|LINK/);
    expect(text).toContain('http_request_duration_seconds_count{method="GET",route="none",status="404"} 2');
    expect(text).toContain('http_request_duration_seconds_count{method="GET",route="none",status="400"} 1');
    expect(text).toContain('http_request_duration_seconds_count{method="other",route="/users",status="405"} 2');
  });

  it('counts what was no request, which the log finds by its id', async () => {
    const { headers, status } = await sendRaw(app.url, 'nonsense\r\n\r\n');

    const [, id] = /^x-request-id: (.*)$/m.exec(headers) ?? [];
    expect(status).toBe(400);
    expect(app.lines).toContainEqual(expect.objectContaining({ msg: 'request', request_id: id, status: 400 }));
    expect(await readMetrics()).toContain(
      'http_request_duration_seconds_count{method="other",route="none",status="400"} 1',
    );
  });

  it('tells of the process', async () => {
    const { text, headers } = await call(app, 'GET', '/metrics');

    expect(headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
    expect(text).toMatch(/^nodejs_eventloop_lag_seconds \S+$/m);
  });

  it('is well-formed: each metric is described once, and nothing else stands there', async () => {
    const lines = (await readMetrics())
      .trimEnd()
      .split('\n')
      .filter((line) => line !== '');

    const described = lines.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2]);
    expect(new Set(described).size).toBe(described.length);
    expect(lines.filter((line) => !/^(# (HELP|TYPE) \w+ |\w+(\{[^}]*\})? \S+$)/.test(line))).toEqual([]);
  });

  it('asks who calls, also where there is no API', async () => {
    const closed = await startTestApp({
      api: false,
      authenticate: async () => {
        throw new ServiceError('credentials_missing');
      },
    });
    expect(await call(closed, 'GET', '/metrics')).toMatchObject({ status: 401, body: { code: 'credentials_missing' } });
    await closed.stop();
  });

  it('is each server’s own, of many that come and go in a process', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => void warnings.push(warning);
    process.on('warning', note);
    for (let n = 0; n < 20; n++) {
      const other = await startTestApp({ api: false });
      expect(await readMetrics(other)).not.toContain('http_request_duration_seconds_count');
      expect(await readMetrics(other)).toContain('_count{method="GET",route="/metrics",status="200"} 1');
      await other.stop();
    }
    process.off('warning', note);

    expect(warnings).toEqual([]);
  });
});
