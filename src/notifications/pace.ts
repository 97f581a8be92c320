import type { Logger } from 'pino';

/** What SNS said to one call, in messages. */
export type Report = { accepted: number; throttled: number };

export type Pace = {
  /** When the next batch may go, on the clock of `performance.now()`. */
  findTurn: () => number;
  /** Notes that a batch goes now. */
  take: (messages: number) => void;
  report: (report: Report) => void;
};

/** Messages a second below which it never goes: about one batch, so that the end of a throttling is found out. */
const RATE_MIN = 10;
/** The pace is lowered once in this time: replies that are under way still belong to the pace before. */
const LOWER_EVERY_MS = 250;
/** How far it is lowered in one go, at most: two quick ones in error are made up for within seconds. */
const LOWER_FACTOR = 0.5;
/** The share of what SNS has taken lately that is taken as safe: enough for a queue to drain, little enough to stay useful. */
const SAFE_SHARE = 0.95;
/** The pace is raised once in this time. Eleven doublings, 5.5 s, bring it from 300 to 12,000 messages a second. */
const RAISE_EVERY_MS = 500;
/** The first step up after a throttling, as a share of the pace: small, as the limit is near. */
const FIRST_STEP = 0.01;
/** The first step is no smaller than this, in messages a second, so that a process that got little catches up with the others. */
const FIRST_STEP_MIN = 10;
/** How far back "lately" reaches; what is older fades. */
const LATELY_MS = 1_000;
/** How late a batch may be without slowing down those behind it: timers are, and a busy process is even more. */
const CREDIT_MS = 100;
/** Lines in the log about one throttling. */
const LOG_EVERY_MS = 5_000;

/**
 * Adapts to a limit that nobody tells: no pace at all until SNS throttles; then it is lowered in proportion, and raised in
 * steps that double until SNS throttles again. Each process has its own.
 */
export function createPace(log: Pick<Logger, 'warn'>): Pace {
  let rate = Number.POSITIVE_INFINITY;
  let step = 0;
  let turn = 0;
  /** Whether anybody has waited for this pace since it was raised: one that nobody waits for says nothing. */
  let awaited = false;
  let loweredAt = Number.NEGATIVE_INFINITY;
  let raisedAt = Number.NEGATIVE_INFINITY;
  let loggedAt = Number.NEGATIVE_INFINITY;
  const accepted = createFadingCount(LATELY_MS);

  const lower = (now: number) => {
    if (now - loweredAt < LOWER_EVERY_MS) return;
    const safe = accepted.perSecond(now) * SAFE_SHARE;
    const least = Number.isFinite(rate) ? rate * LOWER_FACTOR : 0;
    rate = Math.max(RATE_MIN, least, Math.min(rate, safe));
    step = Math.max(FIRST_STEP_MIN, rate * FIRST_STEP);
    [loweredAt, raisedAt, awaited] = [now, now, false];
    if (now - loggedAt < LOG_EVERY_MS) return;
    loggedAt = now;
    log.warn({ messages_per_second: Math.round(rate) }, 'SNS throttles; publishing more slowly');
  };
  const raise = (now: number) => {
    if (!awaited || now - raisedAt < RAISE_EVERY_MS) return;
    rate += step;
    step *= 2;
    [raisedAt, awaited] = [now, false];
  };
  return {
    findTurn() {
      awaited ||= turn > performance.now();
      return turn;
    },
    take(messages) {
      turn = Math.max(turn, performance.now() - CREDIT_MS) + (messages / rate) * 1_000;
    },
    report(report) {
      const now = performance.now();
      accepted.add(report.accepted, now);
      if (report.throttled > 0) lower(now);
      else if (report.accepted > 0) raise(now);
    },
  };
}

/** Counts what happened lately: each event counts for less the longer ago it was, by half in about two thirds of `spanMs`. */
export function createFadingCount(spanMs: number) {
  let count = 0;
  let countedAt = 0;
  const fade = (now: number) => {
    count *= Math.exp((countedAt - now) / spanMs);
    countedAt = now;
    return count;
  };
  return {
    add(events: number, now: number) {
      count = fade(now) + events;
    },
    /** Events a second, `now` in ms. */
    perSecond: (now: number) => (fade(now) / spanMs) * 1_000,
  };
}
