import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { findSecrets } from './secrets.ts';

/** Every file that git has, or would take up with `git add`. */
function listFiles(): string[] {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    encoding: 'utf8',
  });
  return list.split('\0').filter((path) => path !== '' && existsSync(path));
}

const draw = (length: number) => randomBytes(length).toString('base64url').slice(0, length);
const drawHex = (length: number) => randomBytes(length).toString('hex').slice(0, length);
/** Letters and digits, as most vendors' tokens have, with digits enough however the draw falls. */
const drawWord = (length: number) => `${draw(length).replaceAll(/[-_]/g, 'x').slice(3)}739`;
const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');

/** Put together here, so that this file holds nothing that the scan would find. */
const SAMPLES: [kind: string, text: () => string][] = [
  ['private key', () => ['-----BEGIN PRIVATE', 'KEY-----'].join(' ')],
  ['private key', () => ['-----BEGIN OPENSSH PRIVATE', 'KEY-----'].join(' ')],
  ['private key', () => ['-----BEGIN RSA PRIVATE', 'KEY-----'].join(' ')],
  ['AWS access key', () => `AKIA${drawHex(16).toUpperCase()}`],
  ['AWS access key', () => `key ASIA${drawHex(16).toUpperCase()},`],
  ['API key', () => `Bearer nk_${draw(16)}_${draw(43)}`],
  ['JWT', () => [encode({ alg: 'RS256' }), encode({ sub: 'someone' }), draw(86)].join('.')],
  ['npm token', () => `//registry.npmjs.org/:_auth=npm_${drawWord(36)}`],
  ['GitHub token', () => `ghp_${drawWord(36)}`],
  ['GitHub token', () => `github_pat_${drawWord(40)}`],
  ['Slack token', () => `xoxb-${drawWord(24)}`],
  ['Slack token', () => `https://hooks.slack.com/services/T${drawWord(8)}/B${drawWord(8)}/${drawWord(24)}`],
  ['password in a URL', () => `postgresql://service:${drawWord(12)}@db.internal:5432/notifications`],
  ['password in a URL', () => `jdbc:postgresql://db/notifications?user=service&password=${drawWord(12)}`],
  ['assigned secret', () => `CLIENT_SECRET=${drawWord(40)}`],
  ['assigned secret', () => `"secretAccessKey": "${drawWord(40)}"`],
  ['assigned secret', () => `const apiKey = '${drawWord(32)}';`],
  ['assigned secret', () => `  session_token: ${drawWord(64)}`],
];

describe('the tree', () => {
  it('holds no secret', async () => {
    const files = listFiles();
    const found = await Promise.all(files.map(async (path) => findSecrets(path, await readFile(path, 'utf8'))));

    expect(files.length).toBeGreaterThan(100);
    expect(found.flat()).toEqual([]);
  });
});

describe('the scan', () => {
  it.each(SAMPLES)('finds a sample of: %s', (kind, sample) => {
    const text = sample();

    const found = findSecrets('src/x.ts', `one\ntwo\n${text}\n`);

    expect(found).toContain(`src/x.ts:3 ${kind}`);
    expect(found.join('\n')).not.toContain(text);
  });

  it.each(['.env', '.env.production', 'deploy/.npmrc', 'certs/server.pem', 'home/id_ed25519'])(
    'finds a file that is a secret: %s',
    (path) => {
      expect(findSecrets(path, '')).toEqual([`${path} is no file to commit`]);
    },
  );

  it.each([
    'postgresql://user:password@host:5432/database',
    ['postgresql://postgres:$', '{password}@127.0.0.1/db'].join(''),
    'AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE',
    'nk_<id>_<secret>',
    'AWS_SECRET_ACCESS_KEY=',
    'const token = createAuthenticatorFromConfiguration(config);',
    'error: tokens.expiredAndNotRefreshed',
    'http://127.0.0.1:8000/users/a@b',
  ])('lets a placeholder pass: %s', (text) => {
    expect(findSecrets('.env.example', text)).toEqual([]);
  });
});
