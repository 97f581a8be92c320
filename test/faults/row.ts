import { setMaxListeners } from 'node:events';
import { expect, it } from 'vitest';
import type { Books } from './books.ts';
import { openRig, type Rig } from './rig.ts';
import { FAULTS } from './settings.ts';
import { listWarnings } from './warnings.ts';

/** A fault that the service has to withstand. */
type Row = {
  /** Its number in docs/reliability.md, and in the name of its file. */
  number: number;
  fault: string;
  /** How many users there are in full, and in short. */
  users: { full: number; short: number };
  /** The row is cut off, and missed, when it takes longer. */
  limitSeconds: { full: number; short: number };
  /** The database, when it is not one of the shared server. */
  openDatabase?: (signal: AbortSignal) => Promise<{ url: string; close: () => Promise<unknown> }>;
};

/** What a row says at its end. */
export type Finding = {
  books: Books;
  /** The longest time from the fault, or its end, to the first message after it. */
  resumeMs?: number;
  /** Copies that the fault may cause; none by default. */
  duplicatesMax?: number;
  /** What else has to hold, in words. Nothing lost, nothing unexpected and correct counts always have to. */
  need: Record<string, boolean>;
  /** What was measured. */
  figures?: Record<string, number | string>;
};

/** A row of the table, and a line of `--json`. */
export type Result = {
  number: number;
  fault: string;
  users: number;
  lost: number;
  unexpected: number;
  duplicated: number;
  recovered: number;
  resume_ms: number | null;
  seconds: number;
  pass: boolean;
  missed: string[];
  /** The first of those who were lost, unexpected, or doubled when there are too many of them. */
  users_at_fault: string[];
  figures: Record<string, number | string>;
  seed: number;
};

declare module 'vitest' {
  interface TaskMeta {
    result?: Result;
  }
}

const SHOWN_USERS = 10;
/** For whatever was started to end, after a row was cut off. */
const END_SECONDS = 60;

/** Makes a test of a row: it runs it within its time, ends everything it started, and holds it to what it promises. */
export function describeRow(row: Row, run: (rig: Rig) => Promise<Finding>): void {
  const size = FAULTS.isShort ? 'short' : 'full';
  const limitMs = row.limitSeconds[size] * 1_000;
  it(`row ${row.number}: ${row.fault}`, { timeout: limitMs + END_SECONDS * 1_000 }, async ({ task }) => {
    const start = performance.now();
    const { finding, warnings } = await runWithin(row, { users: row.users[size], limitMs }, run);
    const result = judge(row, finding, (performance.now() - start) / 1_000);
    if (!result.pass) result.figures['warnings'] = warnings;
    task.meta.result = result;

    expect({ missed: result.missed, seed: result.seed, users: result.users_at_fault }).toEqual({
      ...{ missed: [], seed: FAULTS.seed, users: [] },
    });
  });
}

async function runWithin(
  row: Row,
  { users, limitMs }: { users: number; limitMs: number },
  run: (rig: Rig) => Promise<Finding>,
) {
  const over = new AbortController();
  // Every pause of the row listens.
  setMaxListeners(0, over.signal);
  const log = (line: string) => process.stderr.write(`${String(row.number).padStart(2)}  ${line}\n`);
  const timer = setTimeout(() => over.abort(new Error(`Cut off after ${limitMs / 1_000} s.`)), limitMs);
  const database = await row.openDatabase?.(over.signal);
  const { number } = row;
  const rig = await openRig({
    number,
    users,
    signal: over.signal,
    log,
    ...(database && { databaseUrl: database.url }),
  });
  try {
    log(`${row.fault}: ${users} users`);
    const finding = await Promise.race([run(rig), rejectWith(over.signal)]);
    return { finding, warnings: listWarnings(rig.outputs.map(({ stdout }) => stdout)) };
  } finally {
    clearTimeout(timer);
    over.abort(new Error('The row is over.'));
    await rig.close();
    await database?.close();
  }
}

function rejectWith(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}

function judge({ number, fault, users }: Row, finding: Finding, seconds: number): Result {
  const { books, resumeMs, duplicatesMax = 0, need, figures: measured = {} } = finding;
  const figures = { ...measured };
  const { lost, unexpected, duplicated, recovered, disagreements } = books;
  const needs = {
    'nobody lost': lost.length === 0,
    'nobody unexpected': unexpected.length === 0,
    [`at most ${duplicatesMax} duplicates`]: duplicated.length <= duplicatesMax,
    ...need,
  };
  const unmet = Object.keys(needs).filter((name) => needs[name] !== true);
  const missed = [...unmet, ...disagreements.slice(0, SHOWN_USERS)];
  return {
    ...{ number, fault, users: users[FAULTS.isShort ? 'short' : 'full'] },
    ...{ lost: lost.length, unexpected: unexpected.length, duplicated: duplicated.length, recovered: recovered.length },
    ...{ resume_ms: resumeMs === undefined ? null : Math.round(resumeMs), seconds: Math.round(seconds) },
    ...{ pass: missed.length === 0, missed, figures, seed: FAULTS.seed },
    users_at_fault: [...lost, ...unexpected, ...(duplicated.length > duplicatesMax ? duplicated : [])].slice(
      0,
      SHOWN_USERS,
    ),
  };
}
