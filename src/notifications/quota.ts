import type { Logger } from 'pino';
import { type Database, isDatabaseUnavailable } from '../database.ts';
import { createFadingCount } from './pace.ts';

/** The limit of a topic: messages a second, by all processes together. */
export type Limit = { topicArn: string; rate: number };

export type Quota = {
  /** When a batch may go, on the clock of `performance.now()`; infinity while no slots are reserved for it. */
  findTurn: (messages: number) => number;
  /** Uses up the slots of a batch that goes now. */
  take: (messages: number) => void;
  /** Reserves slots for those who wait, in messages each, and for as many as are likely to come next. */
  reserveAhead: (waiting: number[]) => void;
};

/** How much of the fleet's time one process reserves at once, if it needs as much. */
const RESERVE_MS = 50;
/**
 * A process reserves more when less than this is left of its time: the database may take that long, and nothing is left
 * unused. All processes together are ahead by this and one reservation each.
 */
const AHEAD_MS = 100;
/**
 * Slots are lost this long after the last of those reserved with them. So none is used more than about 250 ms late, and 10 s
 * never see more than 2.5 % on top of the limit, whatever stalls or waits.
 */
const LATE_MS = 200;
/**
 * Longer than all processes are ever ahead together, in seconds and in messages, of which each may have reserved one. Beyond
 * it the database's clock has jumped back, and nothing may wait for it any longer.
 */
const AHEAD_MAX = { seconds: 10, messages: 60 };
/** Pause after a reservation that failed, the database being away mostly. */
const RETRY_MS = 500;
/** How far back a process looks for what it is likely to need next. */
const LATELY_MS = 200;

/** Slots that follow one another: `left` of them, the next one at `at`, `eachMs` apart. */
type Slots = { at: number; left: number; eachMs: number };

type Deps = {
  db: Database;
  limit: Limit;
  log: Pick<Logger, 'info' | 'error'>;
  /** The entries of a batch, at most. */
  batchMax: number;
  /** Called when slots have been reserved. */
  onReserved: () => void;
};

/** This process's part of the limit of the fleet. While the database is away there are no slots. */
export function createQuota({ db, limit, log, batchMax, onReserved }: Deps): Quota {
  const slots: Slots[] = [];
  const used = createFadingCount(LATELY_MS);
  const most = Math.max(batchMax, Math.floor((limit.rate * RESERVE_MS) / 1_000));
  const eachMs = 1_000 / limit.rate;
  let reserving = false;
  let failed = false;
  let retryAt = 0;

  const reserve = async (messages: number) => {
    reserving = true;
    try {
      const startsInMs = await reserveSlots(db, limit, messages);
      slots.push({ at: performance.now() + startsInMs, left: messages, eachMs });
      if (failed) log.info('the shared publishing rate can be reserved again');
      failed = false;
    } catch (error) {
      retryAt = performance.now() + RETRY_MS;
      const cause = isDatabaseUnavailable(error) ? { reason: (error as Error).message } : { err: error };
      if (!failed) log.error(cause, 'the shared publishing rate cannot be reserved; nothing is published until it can');
      failed = true;
    } finally {
      reserving = false;
    }
    onReserved();
  };
  return {
    findTurn(messages) {
      const now = performance.now();
      while (slots[0] !== undefined && endOf(slots[0]) < now - LATE_MS) slots.shift();
      return findSlot(slots, messages);
    },
    take(messages) {
      used.add(messages, performance.now());
      takeSlots(slots, messages);
    },
    reserveAhead(waiting) {
      const now = performance.now();
      const latest = slots.at(-1);
      if (reserving || now < retryAt || (latest !== undefined && endOf(latest) > now + AHEAD_MS)) return;
      const likely = Math.min(most, (used.perSecond(now) * RESERVE_MS) / 1_000);
      const messages = countMissing(slots, waiting, most, Math.floor(likely / batchMax) * batchMax);
      if (messages > 0) void reserve(messages);
    },
  };
}

/**
 * Reserves the next slots of a topic, after those of all processes. Returns when they begin, in ms from now: a time span, so
 * that only the database's clock counts.
 * Lock: the topic's row, for one update in a table that writes no WAL, so that the commit waits for no disk. Measured 66
 * a second with three processes at 6,000 messages a second, 105 with ten.
 */
export async function reserveSlots(db: Database, { topicArn, rate }: Limit, messages: number): Promise<number> {
  const seconds = messages / rate;
  const aheadMax = Math.max(AHEAD_MAX.seconds, AHEAD_MAX.messages / rate);
  const rows = await db.$queryRaw<{ starts_in: number }[]>`
    insert into publish_rate as held (topic, reserved_until)
    values (${topicArn}, clock_timestamp() + make_interval(secs => ${seconds}))
    on conflict (topic) do update set reserved_until = make_interval(secs => ${seconds}) + greatest(
      clock_timestamp(), least(held.reserved_until, clock_timestamp() + make_interval(secs => ${aheadMax})))
    returning extract(epoch from reserved_until - clock_timestamp())::float8 - ${seconds} as starts_in`;
  return (rows[0]?.starts_in ?? 0) * 1_000;
}

const endOf = ({ at, left, eachMs }: Slots) => at + left * eachMs;

/** When the last of the next `count` slots is due. */
function findSlot(slots: Slots[], count: number): number {
  let missing = count;
  for (const { at, left, eachMs } of slots) {
    if (missing <= left) return at + (missing - 1) * eachMs;
    missing -= left;
  }
  return Number.POSITIVE_INFINITY;
}

function takeSlots(slots: Slots[], count: number): void {
  let missing = count;
  for (let next = slots[0]; next !== undefined && missing > 0; next = slots[0]) {
    const taken = Math.min(next.left, missing);
    missing -= taken;
    next.left -= taken;
    next.at += taken * next.eachMs;
    if (next.left === 0) slots.shift();
  }
}

/**
 * How many slots to reserve: whole batches of those who wait without, at most `most`; and if what is left then is less than
 * is likely to be needed, that much. A batch that some slots are there for gets all of its own: those may be lost by then.
 */
function countMissing(slots: Slots[], waiting: number[], most: number, likely: number): number {
  let left = slots.reduce((sum, reserved) => sum + reserved.left, 0);
  let missing = 0;
  for (const messages of waiting) {
    if (missing === 0 && messages <= left) {
      left -= messages;
    } else if (missing === 0 || missing + messages <= most) {
      missing += messages;
    } else {
      return missing;
    }
  }
  return missing > 0 || left < likely ? Math.max(missing, likely) : 0;
}
