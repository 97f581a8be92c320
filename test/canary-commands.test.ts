import { join } from 'node:path';
import pLimit from 'p-limit';
import { describe, expect, inject, it } from 'vitest';
import { bearer } from './support/auth.ts';
import {
  aviary,
  expectSilence,
  openDatabase,
  type Run,
  runProgram,
  send,
  startServer,
  stopAndSearch,
} from './support/canary-watch.ts';
import { TOPIC_ARN } from './support/dispatch.ts';
import { call } from './support/service.ts';

const PROGRAMS_AT_A_TIME = 4;
/** A dozen starts, on a machine that may be busy. */
const COMMANDS_TIMEOUT_MS = 60_000;
const DIST = join(import.meta.dirname, '../dist');
const [SERVER, PROVISION, API_KEY] = ['server', 'provision', 'api-key'].map((name) => join(DIST, `src/${name}.js`)) as [
  string,
  string,
  string,
];
const MIGRATE = join(DIST, 'prisma/migrate.js');

const { mint } = aviary;

describe('passwords and keys', () => {
  it(
    'are in no output of a command that fails',
    async () => {
      const password = mint('password');
      const wrong = Object.assign(new URL(inject('postgresUrl')), { username: 'nobody', password });
      const DATABASE_URL = wrong.href;
      const aws = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: mint('password') };
      const endpoint = { AWS_ENDPOINT_URL: `http://user:${mint('password')}@127.0.0.1:1` };
      const server = { ...aws, SNS_TOPIC_ARN: TOPIC_ARN, PORT: '0', LOG_LEVEL: 'trace' };
      const odd = [
        ...[`mysql://user:${password}@127.0.0.1/db`, `postgresql://user:${password}@127.0.0.1:port/db`],
        ...[`postgresql://user:${password}%zz@127.0.0.1:1/db`, `postgresql://user:${password}@127.0.0.1:1/db`],
        `postgresql://user:${password}@127.0.0.1:1/db?sslmode=${mint('password')}`,
      ];
      const runs = await runAll([
        ...[DATABASE_URL, ...odd].flatMap((given) => [
          () => runProgram(MIGRATE, [], { DATABASE_URL: given }),
          () => runProgram(API_KEY, ['list'], { DATABASE_URL: given }),
        ]),
        ...odd.slice(0, 2).map((given) => () => runProgram(SERVER, [], { ...server, DATABASE_URL: given })),
        () => runProgram(PROVISION, [], { ...aws, ...endpoint }),
        () => runProgram(PROVISION, ['--check'], { ...aws, AWS_ENDPOINT_URL: 'http://127.0.0.1:1' }),
      ]);

      for (const { code, stdout, stderr } of runs) {
        expectSilence('a command', stdout + stderr);
        expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/\w/) });
      }
    },
    COMMANDS_TIMEOUT_MS,
  );

  it('are in no output of a service that cannot log in to its database', async () => {
    const url = Object.assign(new URL(inject('postgresUrl')), { username: 'nobody', password: mint('password') });
    const server = await startServer({ DATABASE_URL: url.href, AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AUTH: 'on' });
    const sent = { method: 'GET', path: '/users', headers: bearer(mint('wrong_api_key')) };
    const ready = await call(server, 'GET', '/health/ready');

    expect((await send(server, sent)).status).toBe(503);
    expect(ready.status).toBe(503);
    expectSilence('readiness', ready.text);
    await stopAndSearch('the service without a database', server);
  });

  it('are printed once, by the command that makes them', async () => {
    const { url, admin } = await openDatabase();
    const run = (...args: string[]) => runProgram(API_KEY, args, { DATABASE_URL: url });
    const created = await run('create', '--name', 'billing', '--scope', 'users:read');
    const rotated = await run('rotate', '--name', 'billing');
    const others = await runAll([
      () => run('list'),
      () => run('create', '--name', 'billing', '--scope', 'users:read'),
      () => run('revoke', '--name', 'billing'),
    ]);

    const secrets = [created, rotated].map(({ stdout }) => /^nk_[a-z0-9]{16}_([\w-]{43})\n$/.exec(stdout)?.[1] ?? '');
    expect(secrets.map((secret) => secret.length)).toEqual([43, 43]);
    const elsewhere = [created.stderr, rotated.stderr, ...others.map(({ stdout, stderr }) => stdout + stderr)].join();
    const stored = await admin.query(
      'select row_to_json(k)::text as row from api_keys k union all select row_to_json(a)::text from audit_log a',
    );
    for (const secret of secrets) expect(elsewhere + JSON.stringify(stored.rows)).not.toContain(secret);
    expect(others[0]?.stdout).toContain('billing');
  });
});

/** A few at a time, on few cores. */
async function runAll(programs: (() => Promise<Run>)[]): Promise<Run[]> {
  const limit = pLimit(PROGRAMS_AT_A_TIME);
  return Promise.all(programs.map((run) => limit(run)));
}
