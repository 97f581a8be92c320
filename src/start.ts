import type { AddressInfo } from 'node:net';
import { GetTopicAttributesCommand, SNSClient } from '@aws-sdk/client-sns';
import pino, { type Logger } from 'pino';
import { buildApp } from './app.ts';
import { type Config, ConfigError } from './config.ts';
import { createDatabase } from './database.ts';
import { runDispatcher } from './notifications/dispatcher.ts';
import { createPublisher } from './notifications/publisher.ts';

export type Service = {
  /** Where the API listens, like `http://127.0.0.1:8000`. */
  url: string;
  /** Stops gracefully: not ready, then requests finished, then pages finished or given back, then everything closed. */
  stop: () => Promise<void>;
};

/** A call to SNS that has not connected, or not been answered, by then is given up and tried again. */
const SNS_CONNECT_TIMEOUT_MS = 2_000;
const SNS_REQUEST_TIMEOUT_MS = 5_000;
/** Pages under way may finish for this long at a stop; the process is gone within 10 s in all. */
const PAGE_GRACE_MS = 5_000;

/**
 * Starts the service in this process: the API, the dispatcher, or both, as `ROLE` says.
 *
 * @throws ConfigError when the AWS SDK finds no region or credentials, or the port is taken
 */
export async function start(config: Config, log: Logger = createLogger(config)): Promise<Service> {
  const sns = createSnsClient(config.PUBLISH_CONCURRENCY);
  await checkAws(sns);
  const db = createDatabase({ url: config.DATABASE_URL, poolMax: config.DATABASE_POOL_MAX });
  const stopping = new AbortController();
  const dispatcher = config.ROLE === 'api' ? null : startDispatcher(config, { db, sns, log });
  const app = await buildApp({
    ...{ db, log, stopping: stopping.signal, api: config.ROLE !== 'dispatcher' },
    onAccept: () => dispatcher?.wake(),
    readiness: {
      draining: () => stopping.signal.aborted,
      checks: {
        database: () => db.$queryRaw`select 1`,
        topic: () => sns.send(new GetTopicAttributesCommand({ TopicArn: config.SNS_TOPIC_ARN })),
      },
    },
  });
  const stop = async () => {
    stopping.abort();
    await Promise.all([app.close(), dispatcher?.stop(PAGE_GRACE_MS)]);
    await db.$disconnect();
    sns.destroy();
  };
  try {
    await app.listen({ host: config.HOST, port: config.PORT });
  } catch (error) {
    await stop();
    throw (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      ? new ConfigError([`PORT ${config.PORT} is already in use on ${config.HOST}; choose another`])
      : error;
  }
  const { port } = app.server.address() as AddressInfo;
  return { url: `http://${config.HOST.includes(':') ? `[${config.HOST}]` : config.HOST}:${port}`, stop };
}

/** Logs JSON to stdout, one object a line; for people when stdout is a terminal. */
export function createLogger({ LOG_LEVEL }: Pick<Config, 'LOG_LEVEL'>): Logger {
  return process.stdout.isTTY
    ? pino({ level: LOG_LEVEL, transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname' } } })
    : pino({ level: LOG_LEVEL });
}

/** The SDK neither retries (the publisher does, knowing more) nor waits for ever (which is its default). */
function createSnsClient(concurrency: number): SNSClient {
  return new SNSClient({
    maxAttempts: 1,
    cacheMiddleware: true,
    requestHandler: {
      connectionTimeout: SNS_CONNECT_TIMEOUT_MS,
      requestTimeout: SNS_REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      httpsAgent: { maxSockets: concurrency + 1 },
      httpAgent: { maxSockets: concurrency + 1 },
    },
  });
}

async function checkAws(sns: SNSClient): Promise<void> {
  const problems: string[] = [];
  await sns.config.region().catch(() => problems.push('AWS_REGION is required'));
  await sns.config
    .credentials()
    .catch(() => problems.push('AWS credentials are required: none of the SDK’s sources has any'));
  if (problems.length > 0) throw new ConfigError(problems);
}

function startDispatcher(config: Config, deps: { db: ReturnType<typeof createDatabase>; sns: SNSClient; log: Logger }) {
  const { db, sns, log } = deps;
  const publisher = createPublisher({
    sns,
    topicArn: config.SNS_TOPIC_ARN,
    concurrency: config.PUBLISH_CONCURRENCY,
    log,
  });
  return runDispatcher(
    {
      ...{ db, publisher, log },
      pageUsers: config.PAGE_USERS,
      leaseSeconds: config.LEASE_SECONDS,
      recipientsPerMessage: config.RECIPIENTS_PER_MESSAGE,
    },
    config.DISPATCH_CONCURRENCY,
  );
}
