import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { revokeApiKeys } from '../src/auth/api-keys.ts';
import { createDatabase } from '../src/database.ts';
import { bearer, createTestKey } from './support/auth.ts';
import { createTestDatabase } from './support/database.ts';
import { TOPIC_ARN } from './support/dispatch.ts';
import { killProcesses, type RunningProcess, startProcess } from './support/process.ts';
import { call } from './support/service.ts';

const NOBODY = `The configuration is not valid:
  AUTH is on, and nobody could call: create a key with \`npm run api-key -- create\`, set JWT_ISSUER, JWT_AUDIENCE and JWKS_URL, or say AUTH=off
`;
const ISSUER = {
  ...{ JWT_ISSUER: 'https://issuer.example.com', JWT_AUDIENCE: 'notifications' },
  JWKS_URL: 'https://127.0.0.1:1/jwks.json',
};

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auth-startup-'));
});

afterEach(killProcesses);
afterAll(() => rm(folder, { recursive: true }));

function spawnServer(env: Record<string, string>): RunningProcess {
  const credentials = { AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' };
  const aws = { AWS_REGION: 'us-east-1', AWS_ENDPOINT_URL: inject('emulatorUrl'), ...credentials };
  return startProcess('server.js', {
    cwd: folder,
    env: { ...aws, SNS_TOPIC_ARN: TOPIC_ARN, PORT: '0', ROLE: 'api', ...env },
  });
}

/** Starts a server and returns where it listens. */
async function startServer(env: Record<string, string>): Promise<{ url: string }> {
  const [, url = ''] = await spawnServer(env).print(/"url":"(http[^"]+)"/);
  return { url };
}

describe('a start of the API that nobody could call', () => {
  it.each(['api', 'all'])('is refused as ROLE=%s, with what to do about it', async (ROLE) => {
    const server = spawnServer({ DATABASE_URL: await createTestDatabase(), ROLE });

    expect(await server.exited).toEqual({ code: 1, signal: null });
    expect(server.output.stderr).toBe(NOBODY);
  });

  it('is refused on a database without tables, with what to do about it', async () => {
    const server = spawnServer({ DATABASE_URL: await createTestDatabase('template0') });

    expect(await server.exited).toEqual({ code: 1, signal: null });
    expect(server.output.stderr).toMatch(/^.*\n {2}DATABASE_URL .* `npm run migrate`.*\n$/);
  });

  it('is none with AUTH=off, where everybody may', async () => {
    const server = await startServer({ DATABASE_URL: await createTestDatabase(), AUTH: 'off' });

    expect(await call(server, 'GET', '/users')).toMatchObject({ status: 200, body: [] });
  });

  it('is none where an issuer is configured, whether it answers or not', async () => {
    const server = await startServer({ DATABASE_URL: await createTestDatabase(), ...ISSUER });

    expect(await call(server, 'GET', '/users')).toMatchObject({ status: 401, body: { code: 'credentials_missing' } });
  });

  it('is none once there is a key, by which its caller gets in, nor after its revocation', async () => {
    const DATABASE_URL = await createTestDatabase();
    const db = createDatabase({ url: DATABASE_URL, poolMax: 1 });
    const key = await createTestKey(db, { name: 'first' });
    const before = await call(await startServer({ DATABASE_URL }), 'GET', '/users', undefined, bearer(key));
    await revokeApiKeys(db, { name: 'first' });
    await db.$disconnect();
    const after = await call(await startServer({ DATABASE_URL }), 'GET', '/users', undefined, bearer(key));

    expect(before.status).toBe(200);
    expect(after.status).toBe(401);
  });

  it('is none of a dispatcher, which nobody calls', async () => {
    const server = await startServer({ DATABASE_URL: await createTestDatabase(), ROLE: 'dispatcher' });

    expect(await call(server, 'GET', '/health/live')).toMatchObject({ status: 200 });
  });

  it('is not known while the database is away: it starts, and lets nobody in', async () => {
    const server = await startServer({ DATABASE_URL: 'postgresql://127.0.0.1:1/none' });

    expect(await call(server, 'GET', '/users')).toMatchObject({ status: 401 });
    expect(await call(server, 'GET', '/health/ready')).toMatchObject({ status: 503 });
  });
});
