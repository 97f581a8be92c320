import type { Logger } from 'pino';
import { isDatabaseUnavailable } from '../database.ts';

/** What goes wrong in the background, as lines in the log. */
export type FaultLog = {
  /** Says a fault. Of a database that is away, each message is said once in `AWAY_EVERY_MS` by the whole process. */
  say: (log: Pick<Logger, 'warn' | 'error'>, level: 'warn' | 'error', error: unknown, message: string) => void;
  /** Says that the database is back, if it was said to be away. */
  noteAnswer: () => void;
};

/** Every loop and every page under way meets the same outage, about once a second. */
const AWAY_EVERY_MS = 10_000;

export function createFaultLog(log: Pick<Logger, 'info'>): FaultLog {
  const saidAt = new Map<string, number>();
  return {
    say(to, level, error, message) {
      if (!isDatabaseUnavailable(error)) return to[level]({ err: error }, message);
      const now = performance.now();
      if (now - (saidAt.get(message) ?? Number.NEGATIVE_INFINITY) < AWAY_EVERY_MS) return;
      saidAt.set(message, now);
      // Said again and again: without a stack.
      to[level]({ reason: (error as Error).message }, message);
    },
    noteAnswer() {
      if (saidAt.size === 0) return;
      saidAt.clear();
      log.info('the database answers again');
    },
  };
}
