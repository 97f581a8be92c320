import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { findFreePort } from '../../src/local/postgres.ts';
import { type Child, startChild } from './child.ts';
import type { ProbeHandlers } from './probe.ts';

/** The service as it runs in production: the real entry point in a process of its own, which says what it uses. */
export type BenchService = Child<ProbeHandlers> & { url: string };

type Start = { databaseUrl: string; sinkUrl: string; variables?: Record<string, string> };

const START_TIMEOUT_MS = 20_000;
const CHECK_INTERVAL_MS = 20;

/** What the AWS SDK needs to publish to a sink. */
export const describeAws = (sinkUrl: string) => ({
  ...{ AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
  AWS_ENDPOINT_URL: sinkUrl,
});

/** Everything at its default, but for authentication, limits of callers, and logs of what is normal. */
export const describeService = (databaseUrl: string) => ({
  ...{ DATABASE_URL: databaseUrl, SNS_TOPIC_ARN: 'arn:aws:sns:us-east-1:000000000000:notifications' },
  ...{ AUTH: 'off', RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_PRINCIPAL: '0', BROADCAST_MAX_PER_HOUR: '1000000' },
  LOG_LEVEL: 'error',
});

/** Starts the service and waits until it answers. */
export async function startService({ databaseUrl, sinkUrl, variables = {} }: Start): Promise<BenchService> {
  const PORT = String(await findFreePort());
  const child = startChild<ProbeHandlers>('../../src/server.js', {
    // Where no .env is read.
    cwd: tmpdir(),
    preload: 'probe.js',
    env: { ...describeAws(sinkUrl), ...describeService(databaseUrl), PORT, ...variables },
  });
  const url = `http://127.0.0.1:${PORT}`;
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await isLive(url))) {
    if (performance.now() > deadline) throw new Error(`The service has not started within ${START_TIMEOUT_MS} ms.`);
    await sleep(CHECK_INTERVAL_MS);
  }
  return { ...child, url };
}

async function isLive(url: string): Promise<boolean> {
  const response = await fetch(`${url}/health/live`).catch(() => null);
  return response?.ok === true;
}
