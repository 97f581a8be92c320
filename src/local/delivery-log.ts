import { CHANNEL_NAMES, type Channel } from '../channels.ts';

/** More lines a second than this nobody reads; from there on each second is one line of totals. */
export const LINES_PER_SECOND = 20;
/** The length of the stretch that lines are counted over. */
export const WINDOW_MS = 1_000;

export type DeliveryLog = {
  /** Prints the line, or counts it when the rate is too high. */
  add(channel: Channel, line: string): void;
  /** Prints the totals that are due. Call it at least once a second, as nothing may be added any more. */
  tick(): void;
  /** Prints the totals that are left. */
  close(): void;
};

/** A log that shows every line at a readable rate and one summary a second above it. `now` is a clock in milliseconds. */
export function createDeliveryLog(print: (line: string) => void, now: () => number): DeliveryLog {
  const total = new Map<Channel, number>();
  let counted = new Map<Channel, number>();
  let windowStart = now();
  let summarizing = false;

  function close(): void {
    const lines = sum(counted);
    if (lines > 0 && (summarizing || lines > LINES_PER_SECOND)) print(summarize(counted, total));
    summarizing = lines > LINES_PER_SECOND;
    counted = new Map();
    windowStart = now();
  }

  function tick(): void {
    if (now() - windowStart >= WINDOW_MS) close();
  }

  function add(channel: Channel, line: string): void {
    tick();
    counted.set(channel, (counted.get(channel) ?? 0) + 1);
    total.set(channel, (total.get(channel) ?? 0) + 1);
    if (!summarizing && sum(counted) <= LINES_PER_SECOND) print(line);
  }

  return { add, tick, close };
}

function summarize(counted: Map<Channel, number>, total: Map<Channel, number>): string {
  const active = CHANNEL_NAMES.filter((channel) => counted.has(channel));
  const parts = active.map(
    (channel) =>
      `${channel} → ${format(counted.get(channel))} in the last second (${format(total.get(channel))} so far)`,
  );
  return parts.join(', ');
}

function format(count = 0): string {
  return count.toLocaleString('en-US');
}

function sum(counts: Map<Channel, number>): number {
  return [...counts.values()].reduce((result, count) => result + count, 0);
}
