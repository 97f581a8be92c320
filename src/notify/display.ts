import { describeProgress, drawProgress } from './progress-line.ts';
import type { Progress } from './replies.ts';
import type { Watcher } from './watch.ts';

/** In a log, progress alone is worth a line this often. */
const LINE_INTERVAL_MS = 10_000;
/** Of a terminal that does not say how wide it is. */
const COLUMNS_PRESET = 80;
/** To the beginning of the line, and clear it. */
const CLEAR_LINE = '\r\u001B[2K';

/** Where it is shown: stdout, or what behaves like it. */
export type Screen = {
  isTTY?: boolean;
  columns?: number;
  write: (text: string) => unknown;
  on: (event: 'resize', listener: () => void) => unknown;
  off: (event: 'resize', listener: () => void) => unknown;
};

/** Shows the progress of a notification until it is closed. */
export type Display = Watcher & {
  /** Leaves the last of it where it is, and the cursor at the beginning of a line. */
  close: () => void;
};

/**
 * One line, drawn again in place, on a terminal; elsewhere a line when the status changes, and at most one in ten seconds
 * besides.
 *
 * @param expected - how many users everyone was when they were counted; null when it is not for everyone.
 */
export function createDisplay(screen: Screen, expected: number | null): Display {
  return screen.isTTY === true ? createBar(screen, expected) : createLines(screen, expected);
}

function createBar(screen: Screen, expected: number | null): Display {
  let last: Progress | null = null;
  let missing = false;
  const draw = () => {
    if (last === null) return;
    // The last column stays empty: some terminals begin another line when it is filled.
    const width = (screen.columns || COLUMNS_PRESET) - 1;
    const line = missing ? 'no connection; trying again'.slice(0, width) : drawProgress(last, expected, width);
    screen.write(`${CLEAR_LINE}${line}`);
  };
  const update = (progress: Progress | null, isMissing: boolean) => {
    last = progress;
    missing = isMissing;
    draw();
  };
  screen.on('resize', draw);
  return {
    show: (progress) => update(progress, false),
    miss: () => update(last, true),
    close() {
      screen.off('resize', draw);
      if (last !== null) screen.write('\n');
    },
  };
}

function createLines(screen: Screen, expected: number | null): Display {
  let state: string | null = null;
  let writtenAt = Number.NEGATIVE_INFINITY;
  const write = (next: string, text: string) => {
    if (next === state && performance.now() - writtenAt < LINE_INTERVAL_MS) return;
    state = next;
    writtenAt = performance.now();
    screen.write(`${text}\n`);
  };
  return {
    show: (progress) => write(progress.status, describeProgress(progress, expected)),
    miss: () => write('missing', 'no connection; trying again'),
    close: () => undefined,
  };
}
