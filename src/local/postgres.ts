import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { resolve } from 'node:path';

/** What `startPostgres` is asked for; also the one argument, as JSON, of its child process. */
export interface PostgresOptions {
  /** The cluster's folder; created on the first start. Its parent folder must be writable. */
  dataDir: string;
  /** A TCP port of 127.0.0.1; 0 means any free one. */
  port: number;
  /** Whether committed data must outlive a crash of the machine. Tests say no and run faster. */
  durable: boolean;
}

/** A PostgreSQL that runs until `stop` is called or this process is gone. */
export interface RunningPostgres {
  /** A superuser's connection string for the database `postgres`. */
  url: string;
  port: number;
  stop: () => Promise<void>;
}

/** What the child process reports, once. */
export type PostgresReport = { port: number } | { failure: string } | { portInUse: number };

/** Somebody else listens on the port already. */
export class PortInUseError extends Error {
  readonly port: number;

  constructor(port: number) {
    super(`Port ${port} is already in use.`);
    this.port = port;
  }
}

/**
 * Starts the embedded PostgreSQL on 127.0.0.1, creating its cluster on the first start. Rejects with `PortInUseError`, or
 * with the last lines of PostgreSQL's log.
 *
 * The library that carries PostgreSQL ends its process on SIGINT and SIGTERM, which would cut our own graceful stop short,
 * so it gets a process of its own: in its own process group, where a terminal's Ctrl-C does not reach it. The IPC channel is
 * its life line: closed by `stop` or by the death of this process, it stops PostgreSQL and ends.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  if (options.port !== 0) await findFreePort(options.port);

  const argument = JSON.stringify({ ...options, dataDir: resolve(options.dataDir) });
  const [command, ...prefix] = [...capabilityPrefix(), process.execPath, childScript()];
  const child = spawn(command, [...prefix, argument], {
    detached: true,
    windowsHide: true,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit').then(([code]): PostgresReport => ({ failure: `its process ended (${code})` }));
  const reported = once(child, 'message').then(([report]) => report as PostgresReport);

  const report = await Promise.race([reported, exited]);
  const stop = async () => {
    if (child.connected) child.disconnect();
    await exited;
  };
  if ('port' in report) return { url: urlOf(report.port), port: report.port, stop };

  await stop();
  if ('portInUse' in report) throw new PortInUseError(report.portInUse);
  throw new Error(`PostgreSQL did not start in ${options.dataDir}: ${report.failure}`);
}

/**
 * Proves that a port of 127.0.0.1 is free and returns it; 0 picks one. Rejects with `PortInUseError`. Nothing reserves the
 * port: use it at once.
 */
export async function findFreePort(port = 0): Promise<number> {
  const probe = createServer();
  probe.listen(port, '127.0.0.1');
  try {
    await once(probe, 'listening');
  } catch (error) {
    throw error instanceof Error && 'code' in error && error.code === 'EADDRINUSE' ? new PortInUseError(port) : error;
  }

  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  return typeof address === 'object' && address !== null ? address.port : port;
}

function urlOf(port: number): string {
  return `postgresql://postgres:password@127.0.0.1:${port}/postgres`;
}

/** The built script, even for the tests that run this source: the oldest Node we support cannot run TypeScript. */
function childScript(): string {
  const built = import.meta.filename.endsWith('.ts') ? '../../dist/src/local' : '.';
  return resolve(import.meta.dirname, built, 'postgres-process.js');
}

/**
 * PostgreSQL refuses to run as root, so the library runs it as the user `postgres`, who cannot enter a folder that only root
 * may (a checkout in /root or in a `mktemp -d`). This prefix lets the capability to pass such folders survive the change of
 * user. Empty for ordinary users and where the system lacks it.
 */
function capabilityPrefix(): string[] {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return [];

  const capability = '+dac_override';
  const prefix = ['--securebits', '+no_setuid_fixup', '--inh-caps', capability, '--ambient-caps', capability];
  return spawnSync('setpriv', [...prefix, 'true']).status === 0 ? ['setpriv', ...prefix] : [];
}
