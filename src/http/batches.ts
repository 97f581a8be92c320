import { setImmediate as nextTurn } from 'node:timers/promises';
import type { z } from 'zod';
import { createTextRoom, type KeepText } from '../text-room.ts';
import { type ImportResult, REJECTIONS_MAX } from './import-result.ts';
import type { Line } from './lines.ts';
import { listFaults, ValidationError } from './validation.ts';

/** Something of a user, as a line has it. */
export type Row = { user_id: number };

/** What is imported. */
export type Import<Stored extends Row> = {
  /** What a line has to be. */
  line: z.ZodType<Stored>;
  /**
   * Stores rows in the order of their users, each of whom has one: all of them, or none. Not before its turn, which may be
   * refused. What it has kept is forgotten when it has come to its end.
   */
  store: (rows: Stored[], turn: Promise<void>, keep: KeepText) => Promise<unknown>;
};

export type Batcher = {
  /** Judges lines, and stores those that are right whenever there are enough. Waits while a batch is stored and the next is full. */
  add: (lines: Iterable<Line>) => Promise<void>;
  /** Stores what is left, and says what became of all. */
  end: () => Promise<ImportResult>;
  /** Waits until nothing is being stored. All lines up to number `lines` are stored or rejected then. */
  settle: () => Promise<{ lines: number; stored: number }>;
};

/** Lines that are stored by one statement: fewer take longer in all. */
const BATCH_LINES = 10_000;
/** Other requests are to be served in between: a line takes 2 µs, and one that is wrong up to 15. */
const LINES_PER_TURN = 200;
/** Enough to see what is wrong; a line may have a thousand unknown fields. */
const REASON_CHARS_MAX = 300;

/** Judges lines and stores them in batches, one at a time. `onFailure` gets what keeps one from being stored. */
export function createBatcher<Stored extends Row>(
  { line: schema, store }: Import<Stored>,
  onFailure: (error: unknown) => void,
): Batcher {
  const result: ImportResult = { lines: 0, stored: 0, rejected: 0, rejections: [] };
  let batch: Batch<Stored> = { rows: [], last: 0 };
  const done = { lines: 0, stored: 0 };
  const failures: unknown[] = [];
  let storing = Promise.resolve();
  // One statement is being stored, at most, and one waits for its turn.
  let [room, nextRoom] = [createTextRoom(), createTextRoom()];

  const settle = async (stored: Promise<unknown>, { lines, last }: { lines: number; last: number }) => {
    try {
      await stored;
      done.lines = last;
      done.stored += lines;
    } catch (error) {
      failures.push(error);
      onFailure(error);
    }
  };
  const flush = async () => {
    const { rows, last } = batch;
    batch = { rows: [], last };
    const before = storing;
    const turn = before.then(() => throwFirst(failures));
    // Nothing that outlives this holds the rows, which would grow old otherwise, and be in memory for long.
    [room, nextRoom] = [nextRoom, room];
    room.clear();
    const stored = rows.length > 0 ? store(sortRows(rows), turn, room.keep) : turn;
    storing = settle(stored, { lines: rows.length, last });
    await before;
    throwFirst(failures);
  };
  const judge = (line: Line) => {
    result.lines += 1;
    batch.last = line.number;
    const judged = 'fault' in line ? line : judgeText(schema, line.text);
    // A copy, as zod's own object would outlive a garbage collection: V8 then makes every one of them among its old objects,
    // where they stay for long with all they refer to. It cost half of the time and most of the memory.
    if ('row' in judged) return void batch.rows.push({ ...judged.row });
    result.rejected += 1;
    if (result.rejected > REJECTIONS_MAX) return;
    const reason = 'fault' in judged ? judged.fault : composeReason(judged.issues);
    result.rejections.push({ line: line.number, reason });
  };

  return {
    async add(lines) {
      for (const line of lines) {
        judge(line);
        if (batch.rows.length >= BATCH_LINES) await flush();
        if (result.lines % LINES_PER_TURN === 0) await nextTurn();
      }
    },
    async end() {
      await flush();
      await storing;
      throwFirst(failures);
      return { ...result, stored: done.stored };
    },
    async settle() {
      await storing;
      return done;
    },
  };
}

/** In the order of their users, of each the last: sorting keeps the order of equals. */
function sortRows<Stored extends Row>(rows: Stored[]): Stored[] {
  const sorted = rows.toSorted((one, other) => one.user_id - other.user_id);
  return sorted.filter(({ user_id }, n) => user_id !== sorted[n + 1]?.user_id);
}

function throwFirst(failures: unknown[]): void {
  if (failures.length > 0) throw failures[0];
}

/** The rows of lines that were right, in their order. Of all lines the last was number `last`. */
type Batch<Stored> = { rows: Stored[]; last: number };

type Judged<Stored> = { row: Stored } | { fault: string } | { issues: z.core.$ZodIssue[] };

function judgeText<Stored>(schema: z.ZodType<Stored>, text: string): Judged<Stored> {
  const value = parseJson(text);
  // What the parser says quotes the line.
  if (value === undefined) return { fault: 'is not JSON' };
  const result = schema.safeParse(value);
  return result.success ? { row: result.data } : { issues: result.error.issues };
}

function composeReason(issues: z.core.$ZodIssue[]): string {
  const faults = listFaults(new ValidationError(issues));
  const texts = faults.map(({ pointer, detail }) => (pointer === '' ? detail : `${pointer}: ${detail}`));
  return texts.join('; ').slice(0, REASON_CHARS_MAX);
}

/** Undefined, which no JSON means, when it is none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
