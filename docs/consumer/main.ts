/** A consumer as a process, whose effect is a row in an outbox. README.md beside this file says how to run it. */

import { readFile } from 'node:fs/promises';
import { SQSClient } from '@aws-sdk/client-sqs';
import { Pool } from 'pg';
import { z } from 'zod';
import { runConsumer } from './consumer.ts';
import { CHANNELS } from './message.ts';

const environmentSchema = z.object({
  QUEUE_URL: z.url(),
  CHANNEL: z.enum(CHANNELS),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }),
});

/** Messages in hand, and connections. */
const CONCURRENCY = 10;
/** A connection or an answer that takes longer does not come. The second is longer than the server's own limits. */
const CONNECT_TIMEOUT_MS = 3_000;
const QUERY_TIMEOUT_MS = 10_000;

const environment = environmentSchema.safeParse(process.env);
if (!environment.success) {
  console.error(z.prettifyError(environment.error));
  process.exit(1);
}
const { QUEUE_URL, CHANNEL, DATABASE_URL } = environment.data;

const pool = new Pool({
  ...{ connectionString: DATABASE_URL, max: CONCURRENCY, keepAlive: true, application_name: `consumer-${CHANNEL}` },
  ...{ connectionTimeoutMillis: CONNECT_TIMEOUT_MS, query_timeout: QUERY_TIMEOUT_MS },
});
const sqs = new SQSClient({
  requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, throwOnRequestTimeout: true },
  // A queue's URL is its name here, not its address: behind AWS_ENDPOINT_URL its host need not resolve.
  useQueueUrlAsEndpoint: false,
});
if (process.argv.includes('--create-tables')) await pool.query(await readFile('docs/consumer/schema.sql', 'utf8'));

const { stop } = runConsumer({
  ...{ sqs, queueUrl: QUEUE_URL, channel: CHANNEL, pool, concurrency: CONCURRENCY },
  log: (text, ids) => console.log(JSON.stringify({ time: new Date(), text, ...ids })),
  deliver: async ({ dedup_key, address }, { subject, payload }, { transaction }) => {
    await transaction.query({
      name: 'add-to-outbox',
      text: `insert into outbox (dedup_key, channel, address, subject, payload) values ($1, $2, $3, $4, $5)`,
      values: [dedup_key, CHANNEL, address, subject, payload],
    });
  },
});
console.log(JSON.stringify({ time: new Date(), text: 'consuming', channel: CHANNEL }));

// Once only: a second signal ends the process at once, which loses nothing either.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void end());

async function end(): Promise<void> {
  await stop();
  await pool.end();
  // Whatever is left is a connection that no longer answers.
  process.exit(0);
}
