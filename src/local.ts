import { existsSync } from 'node:fs';
import { devNull } from 'node:os';
import { join } from 'node:path';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { applyMigrations } from '../prisma/migrate.ts';
import { createApiKey, rotateApiKey } from './auth/api-keys.ts';
import { SCOPE_NAMES } from './auth/principal.ts';
import type { Channel } from './channels.ts';
import { ConfigError, configSchema, localConfigSchema, parseConfig } from './config.ts';
import { createDatabase, type Database } from './database.ts';
import { loadDemoUsers } from './local/demo-users.ts';
import { startEmulator } from './local/emulator.ts';
import { PortInUseError, startPostgres } from './local/postgres.ts';
import { runSenders } from './local/senders.ts';
import { start } from './start.ts';
import { stopGracefully } from './stop.ts';
import { createClients } from './topology/clients.ts';
import { provisionTopology } from './topology/provision.ts';

/** Longer than PostgreSQL, the slowest part, may take to write what is left to its files. */
const STOP_TIMEOUT_MS = 15_000;
/** Variables by which clients of AWS and PostgreSQL might be led elsewhere; none of them may get past here. */
const FOREIGN_VARIABLES = /^(AWS|PG)/;

/** The local mode's variables, and those of the service that it does not set by itself. Only this machine can call. */
const environmentSchema = configSchema
  .omit({ DATABASE_URL: true, SNS_TOPIC_ARN: true, HOST: true, ROLE: true })
  .extend({ ...localConfigSchema.shape, AUTH: configSchema.shape.AUTH.unwrap().default('off') });
/** The caller of the demo. */
const DEMO_NAME = 'demo';

/** What has been started, in that order; a stop goes backwards. */
const started: (() => Promise<unknown>)[] = [];
const stopping = new AbortController();

stopGracefully({
  timeoutMs: STOP_TIMEOUT_MS,
  logger: console,
  async stop({ err }) {
    if (err) console.error(err instanceof ConfigError ? err.message : err);
    stopping.abort();
    // What is just being started can be stopped only once it has started.
    await starting;
    for (const stop of started.splice(0).reverse()) await stop();
  },
});

const starting = startEverything().catch((error: unknown) => {
  if (!stopping.signal.aborted) queueMicrotask(() => failStart(error));
});

async function startEverything(): Promise<void> {
  if (existsSync('.env')) process.loadEnvFile('.env');
  const config = parseConfig(environmentSchema, { LOG_LEVEL: 'warn', ...process.env });
  for (const name of Object.keys(process.env)) if (FOREIGN_VARIABLES.test(name)) delete process.env[name];

  const postgres = await namePort('LOCAL_POSTGRES_PORT', () =>
    startPostgres({ dataDir: join(config.LOCAL_DIR, 'postgres'), port: config.LOCAL_POSTGRES_PORT, durable: true }),
  );
  keep(postgres.stop);
  await applyMigrations(postgres.url);
  const emulator = await namePort('LOCAL_AWS_PORT', () => startEmulator(config.LOCAL_AWS_PORT));
  keep(emulator.stop);
  useEmulator(emulator.url);

  const clients = createClients();
  const { topicArn, queueUrls } = await provisionTopology(clients);
  const db = createDatabase({ url: postgres.url, poolMax: 2 });
  await loadDemoUsers(db, config.LOCAL_DEMO_USERS);
  const key = config.AUTH === 'on' ? await replaceDemoKey(db) : null;
  await db.$disconnect();

  if (config.LOCAL_SENDERS === 'on') keep(startSenders(clients.sqs, queueUrls));
  const service = await start({
    ...config,
    ...{ DATABASE_URL: postgres.url, SNS_TOPIC_ARN: topicArn, HOST: '127.0.0.1', ROLE: 'all' },
  });
  keep(service.stop);
  console.log(describeService(service.url, key));
}

/** Leaves the error to `stopGracefully`, which stops what has been started by then and ends the process with 1. */
function failStart(error: unknown): never {
  throw error;
}

/** Remembers how to stop what has been started, and goes no further if a stop has been asked for in the meantime. */
function keep(stop: () => Promise<unknown>): void {
  started.push(stop);
  stopping.signal.throwIfAborted();
}

/** Runs a start and, should its port be taken, says which variable chooses another. */
async function namePort<Result>(variable: string, startOnPort: () => Promise<Result>): Promise<Result> {
  try {
    return await startOnPort();
  } catch (error) {
    if (!(error instanceof PortInUseError)) throw error;
    throw new ConfigError([`${variable} ${error.port} is already in use on 127.0.0.1; choose another`]);
  }
}

/** Points the AWS SDK to the emulator, and to nothing else, whatever this user's profiles say. */
function useEmulator(url: string): void {
  Object.assign(process.env, {
    ...{ AWS_ENDPOINT_URL: url, AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
    ...{ AWS_CONFIG_FILE: devNull, AWS_SHARED_CREDENTIALS_FILE: devNull },
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
  });
}

/** Starts the demo senders and returns how to stop them. */
function startSenders(sqs: SQSClient, queueUrls: Record<Channel, string>): () => Promise<void> {
  const leaving = new AbortController();
  const senders = runSenders({ sqs, queueUrls, print: console.log, signal: leaving.signal });
  return () => {
    leaving.abort();
    return senders;
  };
}

/** A key of every scope; those of earlier runs, which nobody may have kept, end. One row a start stays, as its record. */
async function replaceDemoKey(db: Database): Promise<string | null> {
  const demo = { name: DEMO_NAME, scopes: SCOPE_NAMES, expiresInSeconds: null, dailyRecipients: null };
  return (await rotateApiKey(db, { ...demo, overlapSeconds: 0, revive: true })) ?? createApiKey(db, demo);
}

/** `key` is null where everyone may call. */
function describeService(url: string, key: string | null): string {
  const credentials = key === null ? '' : `-H 'authorization: Bearer ${key}' `;
  return `
  API       ${url}
  Swagger   ${url}/docs
  ReDoc     ${url}/redoc
${key === null ? '' : `  Key       ${key}\n`}
  Notify everyone, and watch the messages arrive below:

    curl ${url}/notifications ${credentials}-H 'content-type: application/json' -d '{"payload": "Your statement is ready"}'

  Ctrl-C stops everything; the data stays.
`;
}
