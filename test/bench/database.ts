import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { applyMigrations } from '../../prisma/migrate.ts';
import { startPostgres } from '../../src/local/postgres.ts';

/**
 * `mixed`: the ten kinds of the demo users in turn, of which seven are told. `reachable`: all are told, by e-mail only, so that
 * there are as many recipients and messages as users.
 */
type Mix = 'mixed' | 'reachable';

export type Databases = {
  /** The database with users 1 to `users`, and no notifications. Made when it is first asked for. */
  open: (mix: Mix, users: number) => Promise<BenchDatabase>;
  stop: () => Promise<void>;
};

export type BenchDatabase = { url: string; users: number; client: Client };

const EMAIL = `'user' || n || '@example.com'`;
const PHONE = `'+1555' || lpad(n::text, 7, '0')`;

/** SQL over `n`, a user's id: what they have and want. */
const KINDS: Record<Mix, { email: string; phone: string; knows: string; email_on: string; sms_on: string }> = {
  mixed: {
    email: `case when n % 10 <> 7 then ${EMAIL} end`,
    phone: `case when n % 10 <> 6 then ${PHONE} end`,
    knows: 'n % 10 <> 3',
    email_on: 'n % 10 in (1, 2, 6, 7, 8, 9)',
    sms_on: 'n % 10 in (0, 1, 4, 6, 9)',
  },
  reachable: { email: EMAIL, phone: PHONE, knows: 'true', email_on: 'true', sms_on: 'false' },
};

/** The embedded PostgreSQL, not durable: what is measured is this service, not the disk. */
export async function startDatabases(): Promise<Databases> {
  const folder = await mkdtemp(join(tmpdir(), 'notification-service-bench-'));
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), port: 0, durable: false });
  const opened = new Map<string, Promise<BenchDatabase>>();
  const open = async (mix: Mix, users: number) => {
    const name = `${mix}_${users}`;
    const known = opened.get(name) ?? createDatabase(postgres.url, name, mix, users);
    opened.set(name, known);
    const database = await known;
    await forgetNotifications(database.client);
    return database;
  };
  return {
    open,
    async stop() {
      await postgres.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function createDatabase(server: string, name: string, mix: Mix, users: number): Promise<BenchDatabase> {
  const admin = await connect(server);
  await admin.query(`create database ${name}`);
  await admin.end();
  const url = new URL(server);
  url.pathname = name;
  await applyMigrations(url.href);
  const client = await connect(url.href);
  await loadUsers(client, mix, users);
  return { url: url.href, users, client };
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  // The server goes first at the end.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function loadUsers(client: Client, mix: Mix, users: number): Promise<void> {
  const { email, phone, knows, email_on, sms_on } = KINDS[mix];
  await client.query(
    `insert into users (user_id, email, phone) select n, ${email}, ${phone} from generate_series(1, ${users}) n`,
  );
  await client.query(
    `insert into preferences (user_id, email_enabled, sms_enabled)
     select n, ${email_on}, ${sms_on} from generate_series(1, ${users}) n where ${knows}`,
  );
  // Sets the visibility map as well, as a database that has been in use for some time has it.
  await client.query('vacuum analyze users, preferences');
}

async function forgetNotifications(client: Client): Promise<void> {
  await client.query('truncate notifications, usage cascade');
}
