import type { Verdict } from './check.ts';
import type { Databases } from './database.ts';
import { type Figure, judge } from './figures.ts';
import type { Sink } from './sink.ts';

/** What a benchmark works with. */
export type BenchContext = {
  databases: Databases;
  sink: Sink;
  /** The largest audience. */
  users: number;
  /** Few and short runs: whether they are right counts, and not how fast they are. */
  isShort: boolean;
  /** Says how far this benchmark has come, from 0 to 1. */
  progress: (share: number) => void;
  /** What several benchmarks look at is run once, by the first of them. */
  once: <Result>(name: string, run: () => Promise<Result>) => Promise<Result>;
};

export type Bench = { name: string; run: (context: BenchContext) => Promise<Figure[]> };

/** Runs behind a median. */
export const runsOf = ({ isShort }: BenchContext) => (isShort ? 1 : 3);

/** What the checker has to find: nothing. */
export function judgeVerdict(bench: string, what: string, verdict: Verdict): Figure[] {
  return Object.entries(verdict).map(([name, value]) =>
    judge({ bench, figure: `${name}${what}`, value, unit: 'users', goal: { exactly: 0 } }),
  );
}
