import { TOPIC_ARN } from '../support/dispatch.ts';
import { type RunningProcess, startProcess } from '../support/process.ts';
import type { Rig } from './rig.ts';
import { until } from './rig.ts';

/** A process of the service. */
export type Instance = {
  name: string;
  url: string;
  process: RunningProcess;
};

/** Two cores, shared with everything else that runs. */
const START_TIMEOUT_MS = 60_000;
const AWS = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' };
/** No limit that a row would meet before the fault it is about. */
const SERVICE = {
  ...{ SNS_TOPIC_ARN: TOPIC_ARN, PORT: '0', AUTH: 'off', LOG_LEVEL: 'info' },
  ...{ RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_PRINCIPAL: '0', BROADCAST_MAX_PER_HOUR: '1000000' },
};

/** The defaults of the service that figures of the rows follow from. */
export const LEASE_MS = 10_000;
export const DISPATCH_CONCURRENCY = 4;
const PUBLISH_CONCURRENCY = 16;
const BATCH_ENTRIES = 10;

/** Starts a process as in production, and waits until it listens. SNS knows it by its name. */
export async function startInstance(rig: Rig, name: string, env: Record<string, string> = {}): Promise<Instance> {
  rig.signal.throwIfAborted();
  const given = { DATABASE_URL: rig.databaseUrl, AWS_ENDPOINT_URL: await rig.oracle.open(name) };
  const variables = { ...AWS, ...SERVICE, ...given, PAGE_USERS: String(rig.pageUsers), ...env };
  const process = startProcess('server.js', { cwd: rig.folder, env: variables });
  const isGone = process.gone.then(() => true);
  await until(rig, `${name} to listen:\n${process.output.stderr}`, START_TIMEOUT_MS, async () => {
    if (await Promise.race([isGone, false])) throw new Error(`${name} ended: ${process.output.stderr}`);
    return LISTENING.test(process.output.stdout);
  });
  return { name, url: LISTENING.exec(process.output.stdout)?.[1] ?? '', process };
}

const LISTENING = /"url":"(http[^"]+)"/;

/** Starts a process of each name. */
export async function startFleet<const Names extends string[]>(
  rig: Rig,
  names: Names,
  env: Record<string, string> = {},
) {
  const fleet = await Promise.all(names.map((name) => startInstance(rig, name, env)));
  return fleet as { [Index in keyof Names]: Instance };
}

/** Kills a process that has no time to say anything, and waits until it is gone. */
export async function killInstance({ process }: Instance): Promise<void> {
  process.kill('SIGKILL');
  await process.gone;
}

/**
 * Has SNS take its time, so that a broadcast to everyone lasts about so many seconds: what is to happen in the middle of it
 * does not depend on the speed of the machine.
 */
export function paceMs({ users }: Rig, seconds: number, instances = 2): number {
  const calls = (users * 0.7) / BATCH_ENTRIES;
  return (seconds * 1000 * instances * PUBLISH_CONCURRENCY) / calls;
}
