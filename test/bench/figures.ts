/** What a benchmark has found, as `--json` prints it. */
export type Figure = {
  bench: string;
  figure: string;
  value: number;
  unit: string;
  /** The same, of what it is compared with in the same run. */
  yardstick: number | null;
  /** The value by the yardstick. */
  ratio: number | null;
  /** In words; null: it is shown, and holds nobody to anything. */
  goal: string | null;
  pass: boolean | null;
};

/** A goal for the ratio is one of `least` and `most`; one for the value itself `max`, `min`, or `exactly` for what is counted. */
type Goal =
  | { ratioMin: number }
  | { ratioMax: number }
  | { min: number }
  | { max: number }
  | { exactly: number }
  /** What the yardstick takes may be added. */
  | { maxBeyondYardstick: number };

type Found = { bench: string; figure: string; value: number; unit: string; yardstick?: number; goal?: Goal };

/** Counts are right or wrong on any machine, times are not. */
const counts = new WeakSet<Figure>();

/** Holds what was found to its goal. */
export function judge({ bench, figure, value, unit, yardstick, goal }: Found): Figure {
  const ratio = yardstick === undefined ? null : value / yardstick;
  const judged = {
    ...{ bench, figure, value: round(value), unit },
    ...{ yardstick: yardstick === undefined ? null : round(yardstick), ratio: ratio === null ? null : round(ratio) },
    goal: goal === undefined ? null : describeGoal(goal, unit),
    pass: goal === undefined ? null : meets(goal, value, yardstick ?? Number.NaN),
  };
  if (goal !== undefined && 'exactly' in goal) counts.add(judged);
  return judged;
}

/** Whether a figure is a count with a goal: wrong ones fail in the short form, too. */
export const isCount = (figure: Figure) => counts.has(figure);

function meets(goal: Goal, value: number, yardstick: number): boolean {
  if ('ratioMin' in goal) return value / yardstick >= goal.ratioMin;
  if ('ratioMax' in goal) return value / yardstick <= goal.ratioMax;
  if ('min' in goal) return value >= goal.min;
  if ('max' in goal) return value <= goal.max;
  if ('exactly' in goal) return value === goal.exactly;
  return value <= yardstick + goal.maxBeyondYardstick;
}

function describeGoal(goal: Goal, unit: string): string {
  if ('ratioMin' in goal) return `≥ ${goal.ratioMin} ×`;
  if ('ratioMax' in goal) return `≤ ${goal.ratioMax} ×`;
  if ('min' in goal) return `≥ ${goal.min} ${unit}`;
  if ('max' in goal) return `≤ ${goal.max} ${unit}`;
  if ('exactly' in goal) return `${goal.exactly}`;
  return `≤ yardstick + ${goal.maxBeyondYardstick} ${unit}`;
}

/** Four digits: no measurement here is better. */
const round = (value: number) => (Math.abs(value) >= 10_000 ? Math.round(value) : Number(value.toPrecision(4)));

/** The one in the middle; of an even number the upper one of two. */
export const median = (values: number[]) => percentile(values, 0.5);

/** The value that the given share of all values is below. */
export function percentile(values: number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
}
