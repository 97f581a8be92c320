import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFauxqs } from 'fauxqs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

describe('npm run provision', () => {
  const program = join(import.meta.dirname, '../dist/src/provision.js');
  let emulator: Awaited<ReturnType<typeof startFauxqs>>;
  let folder: string;

  beforeAll(async () => {
    emulator = await startFauxqs({ port: 0, logger: false });
    folder = await mkdtemp(join(tmpdir(), 'provision-'));
  });

  afterAll(async () => {
    await emulator.stop();
    await rm(folder, { recursive: true });
  });

  /** Runs the built program in an empty folder. A variable set to undefined is removed from its environment. */
  function run(args: string[], variables: Record<string, string | undefined> = {}) {
    const env = {
      ...process.env,
      AWS_ENDPOINT_URL: `http://127.0.0.1:${emulator.port}`,
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: undefined,
      ...variables,
    };
    return new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
      execFile(process.execPath, [program, ...args], { cwd: folder, env }, (error, stdout, stderr) =>
        resolve({ code: error?.code ?? 0, stdout, stderr }),
      );
    });
  }

  it('reports drift, provisions, and then finds nothing to do', async () => {
    const before = await run(['--check']);
    const first = await run([]);
    const second = await run([]);
    const after = await run(['--check']);

    expect(before).toMatchObject({ code: 1, stderr: '' });
    expect(before.stdout).toMatch(/^missing {4}topic {14}notifications$/m);
    expect(before.stdout).not.toContain('SNS_TOPIC_ARN');
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toMatch(/^created {4}queue {14}notifications-email$/m);
    expect(first.stdout).toMatch(/\nSNS_TOPIC_ARN=arn:aws:sns:[^:]+:\d{12}:notifications\n$/);
    expect(second).toMatchObject({ code: 0, stderr: '' });
    expect(second.stdout).toMatch(/^unchanged {2}dead-letter queue {2}notifications-sms-dlq$/m);
    expect(after).toEqual({ code: 0, stdout: second.stdout, stderr: '' });
  });

  it('names the attributes that differ', async () => {
    await run([]);
    const check = await run(['--check'], { KMS_KEY_ID: 'alias/notifications' });

    expect(check.code).toBe(1);
    expect(check.stdout).toMatch(/^differs {4}queue {14}notifications-email \(KmsMasterKeyId\)$/m);
  });

  it('reads the file .env when there is one', async () => {
    const file = join(folder, '.env');
    await writeFile(file, `AWS_ENDPOINT_URL=http://127.0.0.1:${emulator.port}\n`);

    const { code } = await run([], { AWS_ENDPOINT_URL: undefined });

    await rm(file);
    expect(code).toBe(0);
  });

  it('explains its usage and exits with 2 on an argument it does not know', async () => {
    for (const argument of ['--chek', 'production', '--check=no']) {
      const { code, stdout, stderr } = await run([argument]);

      expect(code).toBe(2);
      expect(stdout).toBe('');
      expect(stderr).toMatch(/^Usage: npm run provision \[-- --check\]/);
    }
  });

  it.each([
    { trouble: 'AWS cannot be reached', variables: { AWS_ENDPOINT_URL: 'http://127.0.0.1:1' }, says: /ECONNREFUSED/ },
    { trouble: 'there is no region', variables: { AWS_REGION: undefined }, says: /AWS_REGION is required/ },
    {
      trouble: 'there are no credentials',
      variables: { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined },
      says: /credentials/i,
    },
  ])('says in one line that $trouble, and exits with 1', async ({ variables, says }) => {
    const nothingElse = {
      AWS_DEFAULT_REGION: undefined,
      AWS_PROFILE: undefined,
      AWS_CONFIG_FILE: '/nonexistent',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
      AWS_EC2_METADATA_DISABLED: 'true',
    };

    const { code, stdout, stderr } = await run([], { ...nothingElse, ...variables });

    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^provision: .+\n$/);
    expect(stderr).toMatch(says);
  });
});
