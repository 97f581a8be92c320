import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { createTestDatabase } from '../support/database.ts';
import { killProcesses } from '../support/process.ts';
import { createRandom } from '../support/random.ts';
import { addAudience } from './audience.ts';
import { createOracle, type Oracle } from './oracle.ts';
import { FAULTS } from './settings.ts';
import { addWitness } from './witness.ts';

/** What a row works with: a database with an audience, SNS, and later processes. */
export type Rig = {
  isShort: boolean;
  users: number;
  /** As many users a page as make some two hundred pages in full, and some sixty in short. */
  pageUsers: number;
  random: () => number;
  oracle: Oracle;
  databaseUrl: string;
  /** Connections of the test's own, past whatever fault there is. */
  sql: Pool;
  /** What every process has written so far, those that have ended included. */
  outputs: { stdout: string }[];
  /** A folder that goes with the row. */
  folder: string;
  /** The audience of every notification that was accepted, by id; null: everyone. */
  promised: Map<string, number[] | null>;
  /** Where the accounting did not add up when it was looked at. */
  imbalances: string[];
  /** Aborted when the row's time is up, or it is over. */
  signal: AbortSignal;
  /** What is done at the end of the row, last first. */
  atEnd: (end: () => Promise<unknown>) => void;
  log: (line: string) => void;
};

/** Users of a page. A short row has fewer users and as many pages, so that there is something to interrupt. */
const PAGE_USERS = 500;
const SHORT_PAGE_USERS = 50;
const CHECK_INTERVAL_MS = 50;

type Options = { number: number; users: number; signal: AbortSignal; log: Rig['log']; databaseUrl?: string };

/** Prepares a row on a database of its own, unless one is given. `close` ends everything, whatever state it is in. */
export async function openRig({
  number,
  users,
  signal,
  log,
  databaseUrl,
}: Options): Promise<Rig & { close: () => Promise<void> }> {
  const ends: (() => Promise<unknown>)[] = [];
  const folder = await mkdtemp(join(tmpdir(), 'faults-'));
  ends.push(() => rm(folder, { recursive: true, force: true }));
  const oracle = createOracle();
  ends.push(oracle.stop, killProcesses);
  const url = databaseUrl ?? (await createTestDatabase());
  const sql = new Pool({ connectionString: url, max: 4 });
  // Some rows stop the database.
  sql.on('error', () => undefined);
  ends.push(() => sql.end());
  await addAudience(sql, users);
  await addWitness(sql);
  return {
    ...{ isShort: FAULTS.isShort, users, pageUsers: FAULTS.isShort ? SHORT_PAGE_USERS : PAGE_USERS },
    ...{ random: createRandom(FAULTS.seed + number), oracle, databaseUrl: url, sql, folder, signal, log },
    ...{ promised: new Map(), imbalances: [], outputs: [], atEnd: (end) => ends.push(end) },
    close: async () => {
      for (const end of ends.toReversed()) await end();
    },
  };
}

/** Waits until a condition holds. Rejects after `timeoutMs`, saying what was waited for, or when the row is over. */
export async function until(
  rig: Pick<Rig, 'signal'>,
  what: string,
  timeoutMs: number,
  condition: () => unknown,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Waited ${timeoutMs} ms for ${what}.`);
    await sleep(CHECK_INTERVAL_MS, undefined, { signal: rig.signal });
  }
}

/** A time from one moment to another, by chance. */
export const drawMs = ({ random }: Pick<Rig, 'random'>, from: number, to: number) => from + random() * (to - from);
