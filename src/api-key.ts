import { existsSync } from 'node:fs';
import { type ApiKeyLine, createApiKey, listApiKeys, revokeApiKeys, rotateApiKey } from './auth/api-keys.ts';
import { KEY_USAGE, type KeyCommand, KeyUsageError, parseKeyCommand } from './auth/key-command.ts';
import { ConfigError, configSchema, parseConfig } from './config.ts';
import { createDatabase, type Database } from './database.ts';

process.exitCode = await main(process.argv.slice(2));

/** Runs the command line and resolves to the exit code: 0 done, 1 refused or an error, 2 wrong usage. */
async function main(args: string[]): Promise<number> {
  try {
    const command = parseKeyCommand(args);
    if (existsSync('.env')) process.loadEnvFile('.env');
    const { DATABASE_URL } = parseConfig(configSchema.pick({ DATABASE_URL: true }), process.env);
    const db = createDatabase({ url: DATABASE_URL, poolMax: 1 });
    try {
      return await run(db, command);
    } finally {
      await db.$disconnect();
    }
  } catch (error) {
    console.error(describeError(error));
    return error instanceof KeyUsageError ? 2 : 1;
  }
}

async function run(db: Database, given: KeyCommand): Promise<number> {
  if (given.command === 'list') return printTable(await listApiKeys(db));
  if (given.command === 'revoke') return revoke(db, given);
  if (given.command === 'rotate') return rotate(db, given);
  const {
    name,
    scope: scopes,
    'expires-in': expiresInSeconds = null,
    'daily-recipients': dailyRecipients = null,
  } = given;
  const key = await createApiKey(db, { name, scopes, expiresInSeconds, dailyRecipients });
  return key === null ? refuse(`the name ${name} is taken; rotate gives it another key`) : printKey(key);
}

async function rotate(db: Database, given: KeyCommand & { command: 'rotate' }): Promise<number> {
  const { name, revive, overlap: overlapSeconds, scope: scopes, 'daily-recipients': dailyRecipients } = given;
  const expiresInSeconds = given['expires-in'] ?? null;
  const key = await rotateApiKey(db, { name, overlapSeconds, expiresInSeconds, scopes, dailyRecipients, revive });
  if (key !== null) return printKey(key);
  if (revive) return refuse(`no key is named ${name}`);
  return refuse(`no valid key is named ${name}; --revive gives one to a caller whose keys are all revoked or expired`);
}

async function revoke(db: Database, { name, id }: { name?: string | undefined; id?: string | undefined }) {
  const revoked = await revokeApiKeys(db, id === undefined ? { name: name ?? '' } : { id });
  if (revoked === null) return refuse(id === undefined ? `no key is named ${name}` : `no key has the id ${id}`);
  if (revoked.ids.length === 0) console.log(`nothing left to revoke of ${revoked.name}`);
  for (const revokedId of revoked.ids) console.log(`revoked ${revokedId} of ${revoked.name}`);
  return 0;
}

function refuse(reason: string): number {
  console.error(`api-key: ${reason}`);
  return 1;
}

/** The key alone goes to stdout, for scripts; npm must not add to it. */
function printKey(key: string): number {
  console.log(key);
  console.error(
    'This key is shown once and cannot be read again: keep it where secrets are kept. ' +
      'A script captures it alone by `npm run -s api-key -- …`.',
  );
  return 0;
}

function printTable(keys: ApiKeyLine[]): number {
  const head = ['NAME', 'ID', 'SCOPES', 'DAILY RECIPIENTS', 'CREATED', 'EXPIRES', 'LAST USED', 'STATE'];
  const rows = [head, ...keys.map(describeKey)];
  const widths = head.map((_title, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  return 0;
}

function describeKey(key: ApiKeyLine): string[] {
  return [
    ...[key.name, key.id, key.scopes.join(' '), key.daily_recipients?.toString() ?? 'as configured'],
    ...[describeTime(key.created_at), key.expires_at === null ? 'never' : describeTime(key.expires_at)],
    ...[key.last_used_on?.toISOString().slice(0, 10) ?? 'never', key.state],
  ];
}

/** To the minute, in UTC. */
function describeTime(time: Date): string {
  return `${time.toISOString().slice(0, 16)}Z`;
}

/** One line, but for what names several problems. */
function describeError(error: unknown): string {
  if (error instanceof KeyUsageError) return `${error.message}\n\n${KEY_USAGE}`;
  if (error instanceof ConfigError) return error.message;
  if (!(error instanceof Error)) return `api-key: ${String(error)}`;
  return `api-key: ${error.name}: ${error.message}`.replace(/\s+/g, ' ');
}
