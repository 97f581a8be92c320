import { setMaxListeners } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { GetTopicAttributesCommand, SNSClient } from '@aws-sdk/client-sns';
import type { Logger } from 'pino';
import { buildApp } from './app.ts';
import { createAuthenticator } from './auth/authenticate.ts';
import { requireCallers } from './auth/require-callers.ts';
import { type Config, ConfigError } from './config.ts';
import { createDatabase, type Database, readPoolUse } from './database.ts';
import { createMetrics } from './http/metrics.ts';
import { createLogger } from './log.ts';
import { findDefaultRate } from './notifications/default-rate.ts';
import { type Dispatcher, runDispatcher } from './notifications/dispatcher.ts';
import { createFaultLog } from './notifications/fault-log.ts';
import { createGovernor } from './notifications/governor.ts';
import { readLag } from './notifications/lag.ts';
import type { Measures } from './notifications/measures.ts';
import { createPublisher } from './notifications/publisher.ts';
import { type Retention, runRetention } from './notifications/retention.ts';

export type Service = {
  /** Where the API listens, like `http://127.0.0.1:8000`. */
  url: string;
  /**
   * Stops gracefully. Not ready, and claiming nothing more, at once; requests are still taken for `drainMs` (none by
   * default), as whoever sends them may not know yet. Then requests and pages under way are finished or given back.
   */
  stop: (drainMs?: number) => Promise<void>;
};

/** A call to SNS that has not connected, or not been answered, by then is given up and tried again. */
const SNS_CONNECT_TIMEOUT_MS = 2_000;
const SNS_REQUEST_TIMEOUT_MS = 5_000;
/** Pages under way may finish for this long at a stop; the process is gone within 10 s in all. */
const PAGE_GRACE_MS = 5_000;
/** Requests under way likewise; then their connections are cut, as there are callers who never finish a request. */
const REQUEST_GRACE_MS = 4_000;

/**
 * Starts the service in this process: the API, the dispatcher, or both, as `ROLE` says.
 *
 * @throws ConfigError when the port is taken, or nobody could call
 */
export async function start(config: Config, log: Logger = createLogger(config)): Promise<Service> {
  const sns = createSnsClient(config.PUBLISH_CONCURRENCY);
  const db = createDatabase({ url: config.DATABASE_URL, poolMax: config.DATABASE_POOL_MAX });
  const lag = config.ROLE === 'api' ? null : () => readLag(db);
  const metrics = createMetrics({ pool: () => readPoolUse(db), lag });
  let draining = false;
  const stopping = new AbortController();
  // Every caller who waits for a dispatch listens, far more than the ten from which Node suspects a leak.
  setMaxListeners(0, stopping.signal);
  let dispatcher: Dispatcher | null = null;
  let retention: Retention | null = null;
  const app = await buildApp({
    ...{ db, log, metrics, stopping: stopping.signal, api: config.ROLE !== 'dispatcher' },
    authenticate: createAuthenticator(config, db),
    rateLimits: { perAddress: config.RATE_LIMIT_PER_ADDRESS, perPrincipal: config.RATE_LIMIT_PER_PRINCIPAL },
    ...{ trustProxy: config.TRUST_PROXY, corsOrigins: config.CORS_ORIGINS },
    publishRate: config.PUBLISH_RATE_LIMIT ?? findDefaultRate(config.SNS_TOPIC_ARN),
    packing: { pageUsers: config.PAGE_USERS, recipientsPerMessage: config.RECIPIENTS_PER_MESSAGE },
    allowances: {
      broadcastsPerHour: config.BROADCAST_MAX_PER_HOUR,
      recipientsPerDay: config.DAILY_RECIPIENTS ?? null,
    },
    onAccept: () => dispatcher?.wake(),
    readiness: {
      draining: () => draining,
      checks: {
        database: () => db.$queryRaw`select 1`,
        topic: () => sns.send(new GetTopicAttributesCommand({ TopicArn: config.SNS_TOPIC_ARN })),
      },
    },
  });
  // Who keeps connections open learns from any reply that the next request belongs elsewhere.
  app.addHook('onSend', async (_request, reply) => {
    if (draining) reply.header('connection', 'close');
  });
  const stopRequests = async (drainMs: number) => {
    if (drainMs > 0) await sleep(drainMs);
    stopping.abort();
    await closeApp(app);
  };
  const stop = async (drainMs = 0) => {
    draining = true;
    await Promise.all([stopRequests(drainMs), dispatcher?.stop(PAGE_GRACE_MS), retention?.stop()]);
    await db.$disconnect();
    sns.destroy();
  };
  try {
    await requireCallers(config, db);
    await listen(app, config);
  } catch (error) {
    await stop();
    throw error;
  }
  // Not before it is certain that this process stays: one that cannot listen must not have claimed a page.
  if (config.ROLE !== 'api') {
    dispatcher = startDispatcher(config, { db, sns, log, measures: metrics.measures });
    retention = runRetention({ db, log, retentionDays: config.RETENTION_DAYS });
  }
  const { port } = app.server.address() as AddressInfo;
  return { url: `http://${config.HOST.includes(':') ? `[${config.HOST}]` : config.HOST}:${port}`, stop };
}

/** Refuses connections, waits for the requests under way, within bounds, and closes. */
async function closeApp(app: Awaited<ReturnType<typeof buildApp>>): Promise<void> {
  const grace = setTimeout(() => app.server.closeAllConnections(), REQUEST_GRACE_MS);
  await app.close();
  clearTimeout(grace);
}

async function listen(app: Awaited<ReturnType<typeof buildApp>>, config: Config): Promise<void> {
  try {
    await app.listen({ host: config.HOST, port: config.PORT });
  } catch (error) {
    throw explainListen(error as NodeJS.ErrnoException, config);
  }
}

function explainListen({ code, message }: NodeJS.ErrnoException, { HOST, PORT }: Config): ConfigError {
  return new ConfigError([
    code === 'EADDRINUSE'
      ? `PORT ${PORT} is already in use on ${HOST}; choose another`
      : `HOST ${HOST} and PORT ${PORT} cannot be listened on: ${message}`,
  ]);
}

/** The SDK neither retries (the publisher does, knowing more) nor waits for ever (which is its default). */
function createSnsClient(concurrency: number): SNSClient {
  return new SNSClient({
    maxAttempts: 1,
    cacheMiddleware: true,
    requestHandler: {
      connectionTimeout: SNS_CONNECT_TIMEOUT_MS,
      requestTimeout: SNS_REQUEST_TIMEOUT_MS,
      // Of silence: what `requestTimeout` ends is the wait for the head of a reply, not for its body.
      socketTimeout: SNS_REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      httpsAgent: { maxSockets: concurrency + 1 },
      httpAgent: { maxSockets: concurrency + 1 },
    },
  });
}

type DispatchDeps = { db: Database; sns: SNSClient; log: Logger; measures: Measures };

function startDispatcher(config: Config, { db, sns, log, measures }: DispatchDeps): Dispatcher {
  const { SNS_TOPIC_ARN: topicArn, PUBLISH_CONCURRENCY: concurrency } = config;
  const governor = createGovernor({ db, topicArn, rateLimit: config.PUBLISH_RATE_LIMIT, log });
  const publisher = createPublisher({ sns, topicArn, concurrency, governor, measures, log });
  return runDispatcher(
    {
      ...{ db, publisher, log, measures, faults: createFaultLog(log) },
      pageUsers: config.PAGE_USERS,
      leaseSeconds: config.LEASE_SECONDS,
      recipientsPerMessage: config.RECIPIENTS_PER_MESSAGE,
    },
    config.DISPATCH_CONCURRENCY,
  );
}
