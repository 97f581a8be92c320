import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyMigrations } from '../../prisma/migrate.ts';
import { startPostgres } from '../../src/local/postgres.ts';
import { isListening, waitFor } from '../support/process.ts';

/** A PostgreSQL of a row's own, migrated and empty, that survives being stopped hard as one in production does. */
export type Postgres = {
  url: string;
  /** Ends every process of it at once: it recovers from its log when it is started again. */
  stopHard: () => Promise<void>;
  restart: () => Promise<void>;
  close: () => Promise<unknown>;
};

/** Starts a server. The caller closes it. */
export async function openPostgres(): Promise<Postgres> {
  const folder = await mkdtemp(join(tmpdir(), 'faults-postgres-'));
  const dataDir = join(folder, 'postgres');
  const start = (port: number) => startPostgres({ dataDir, port, durable: true });
  let running = await start(0);
  const { url, port } = running;
  const stopped: Promise<void>[] = [];
  await applyMigrations(url);
  return {
    url,
    stopHard: async () => {
      const [pid = ''] = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
      // An immediate shutdown, as after a power failure, but that no process is left behind.
      process.kill(Number(pid), 'SIGQUIT');
      await waitFor('PostgreSQL to be gone', async () => !(await isListening(port)));
      // The process around it takes its time, as it has nobody to stop.
      stopped.push(running.stop());
    },
    restart: async () => {
      running = await start(port);
    },
    close: async () => {
      await Promise.all([running.stop(), ...stopped]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
