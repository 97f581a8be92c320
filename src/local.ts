import { existsSync } from 'node:fs';
import { join } from 'node:path';
import closeWithGrace from 'close-with-grace';
import { applyMigrations } from '../prisma/migrate.ts';
import { ConfigError, configSchema, localConfigSchema, parseConfig } from './config.ts';
import { createDatabase } from './database.ts';
import { loadDemoUsers } from './local/demo-users.ts';
import { startEmulator } from './local/emulator.ts';
import { PortInUseError, startPostgres } from './local/postgres.ts';
import { runSenders } from './local/senders.ts';
import { start } from './start.ts';
import { createClients } from './topology/clients.ts';
import { provisionTopology } from './topology/provision.ts';

/** A stop takes at most this long; then the process ends without having finished, and says so. */
const STOP_TIMEOUT_MS = 15_000;
/** Variables by which the AWS SDK might be led to a real account; none of them may get past here. */
const AWS_VARIABLES = /^AWS_/;

/** What has been started, in that order; a stop goes backwards. */
const started: (() => Promise<unknown>)[] = [];

async function stopAll(): Promise<void> {
  for (const stop of started.splice(0).reverse()) await stop();
}

async function main(): Promise<void> {
  if (existsSync('.env')) process.loadEnvFile('.env');
  const local = parseConfig(localConfigSchema, process.env);

  const postgres = await namePort('LOCAL_POSTGRES_PORT', () =>
    startPostgres({ dataDir: join(local.LOCAL_DIR, 'postgres'), port: local.LOCAL_POSTGRES_PORT, durable: true }),
  );
  started.push(postgres.stop);
  await applyMigrations(postgres.url);
  const emulator = await namePort('LOCAL_AWS_PORT', () => startEmulator(local.LOCAL_AWS_PORT));
  started.push(emulator.stop);
  useEmulator(emulator.url);

  const clients = createClients();
  const { topicArn, queueUrls } = await provisionTopology(clients);
  const config = parseConfig(configSchema, {
    ...{ LOG_LEVEL: 'warn', ...process.env },
    ...{ DATABASE_URL: postgres.url, SNS_TOPIC_ARN: topicArn, HOST: '127.0.0.1', ROLE: 'all' },
  });
  const db = createDatabase({ url: postgres.url, poolMax: 2 });
  await loadDemoUsers(db, local.LOCAL_DEMO_USERS);
  await db.$disconnect();

  if (local.LOCAL_SENDERS === 'on') {
    const stopping = new AbortController();
    const senders = runSenders({ sqs: clients.sqs, queueUrls, print: console.log, signal: stopping.signal });
    started.push(() => {
      stopping.abort();
      return senders;
    });
  }
  const service = await start(config);
  started.push(service.stop);
  console.log(describeService(service.url));
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

/** Points the AWS SDK to the emulator, and to nothing else, whatever this machine is configured for. */
function useEmulator(url: string): void {
  for (const name of Object.keys(process.env)) if (AWS_VARIABLES.test(name)) delete process.env[name];
  Object.assign(process.env, {
    ...{ AWS_ENDPOINT_URL: url, AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
  });
}

function describeService(url: string): string {
  return `
  API       ${url}
  Swagger   ${url}/docs
  ReDoc     ${url}/redoc

  Notify everyone, and watch the messages arrive below:

    curl ${url}/notifications -H 'content-type: application/json' -d '{"payload": "Your statement is ready"}'

  Ctrl-C stops everything; the data stays.
`;
}

closeWithGrace({ delay: STOP_TIMEOUT_MS }, async ({ err }) => {
  if (err) console.error(err);
  await stopAll();
});

try {
  await main();
} catch (error) {
  console.error(error instanceof ConfigError ? error.message : error);
  process.exitCode = 1;
  await stopAll();
}
