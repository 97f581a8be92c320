/** The service's dispatcher with a publisher that publishes nothing: what is left is what the database is for. */

import { randomUUID } from 'node:crypto';
import { configSchema, parseConfig } from '../../src/config.ts';
import { createDatabase } from '../../src/database.ts';
import { createLogger } from '../../src/log.ts';
import { runDispatcher } from '../../src/notifications/dispatcher.ts';
import { createFaultLog } from '../../src/notifications/fault-log.ts';
import { createMeasures } from '../../src/notifications/measures.ts';
import type { Publisher } from '../../src/notifications/publisher.ts';
import { answerCalls } from './child.ts';
import { createMeter } from './meter.ts';

const config = parseConfig(configSchema, process.env);
const log = createLogger(config);
const meter = createMeter();

const publisher: Publisher = {
  publish: async (messages) => messages.map(() => ({ message_id: randomUUID() })),
};

const dispatcher = runDispatcher(
  {
    db: createDatabase({ url: config.DATABASE_URL, poolMax: config.DATABASE_POOL_MAX }),
    ...{ publisher, log, faults: createFaultLog(log), measures: createMeasures() },
    ...{ pageUsers: config.PAGE_USERS, leaseSeconds: config.LEASE_SECONDS },
    recipientsPerMessage: config.RECIPIENTS_PER_MESSAGE,
  },
  config.DISPATCH_CONCURRENCY,
);

const handlers = { reset: meter.reset, read: meter.read, wake: dispatcher.wake };
export type ResolveHandlers = typeof handlers;

answerCalls(handlers);
