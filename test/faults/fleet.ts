import { TOPIC_ARN } from '../support/dispatch.ts';
import { type RunningProcess, startProcess } from '../support/process.ts';
import type { Rig } from './rig.ts';
import { until } from './rig.ts';
import { sayWho } from './witness.ts';

/** A process of the service. */
export type Instance = {
  name: string;
  /** One that is started in its place has the same name. */
  startedAt: Date;
  url: string;
  process: RunningProcess;
  hasEnded: () => boolean;
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
  const startedAt = new Date();
  const { DATABASE_URL = '', ...others } = { ...(await describeService(rig, name)), ...env };
  const process = startProcess('server.js', {
    cwd: rig.folder,
    env: { ...others, DATABASE_URL: sayWho(DATABASE_URL, name) },
  });
  rig.outputs.push(process.output);
  let isGone = false;
  void process.gone.then(() => (isGone = true));
  await until(rig, `${name} to listen`, START_TIMEOUT_MS, () => {
    if (isGone) throw new Error(`${name} ended: ${process.output.stderr}`);
    return LISTENING.test(process.output.stdout);
  });
  return { name, startedAt, url: LISTENING.exec(process.output.stdout)?.[1] ?? '', process, hasEnded: () => isGone };
}

/** The variables of a process. SNS knows it by its name. */
export async function describeService(rig: Rig, name: string): Promise<Record<string, string>> {
  const AWS_ENDPOINT_URL = await rig.oracle.open(name);
  const given = { DATABASE_URL: rig.databaseUrl, AWS_ENDPOINT_URL, PAGE_USERS: String(rig.pageUsers) };
  return { ...AWS, ...SERVICE, ...given };
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

/** Whether none of the processes has ended. */
export const areRunning = (fleet: Instance[]) => fleet.every(({ hasEnded }) => !hasEnded());

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
