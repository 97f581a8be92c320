import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Database, isDatabaseUnavailable } from '../database.ts';
import { createBell } from './bell.ts';
import type { FaultLog } from './fault-log.ts';
import { holdLease } from './lease.ts';
import { expireRunning } from './lifecycle.ts';
import { addSettled, type Measures } from './measures.ts';
import { composeMessages } from './message.ts';
import {
  type ClaimedPage,
  cutPage,
  type NoPage,
  type PageResult,
  reclaimPage,
  releasePage,
  settlePage,
} from './pages.ts';
import type { Publisher } from './publisher.ts';
import { resolveRecipients } from './recipients.ts';
import { endLostRetry, reopenPage } from './retry.ts';
import { tallyPage } from './tally.ts';

export type DispatcherDeps = {
  db: Database;
  publisher: Publisher;
  log: Logger;
  faults: FaultLog;
  measures: Measures;
  /** Users of a page, at most. */
  pageUsers: number;
  leaseSeconds: number;
  recipientsPerMessage: number;
};

export type Dispatcher = {
  /** Looks for work now instead of at the next poll. */
  wake: () => void;
  /** Claims nothing more, waits at most `graceMs` for the pages under way, then gives back what is left. */
  stop: (graceMs: number) => Promise<void>;
};

/** How often an idle process looks for work that another one accepted or left behind, all its loops together. */
const POLL_INTERVAL_MS = 250;
/**
 * How often a busy process looks for pages that another one left behind, all its loops together: each look is a statement, and
 * a fifth of a second is nothing beside the lease that has run out by then.
 */
const RECLAIM_INTERVAL_MS = 200;
/** Pause after an error, the database being away mostly, so that a broken dependency is not hammered. */
const ERROR_PAUSE_MS = 1_000;
/** Pause between tries to settle a published page: the alternative is publishing it twice. */
const SETTLE_RETRY_MS = 500;
/** Tries to settle that the database refuses instead of being away: enough for what passes, as a fail-over or a deadlock. */
const SETTLE_REFUSALS_MAX = 10;

/** Runs `concurrency` loops around `dispatchNext` until stopped. Errors are logged and waited out; they end no loop. */
export function runDispatcher(deps: DispatcherDeps, concurrency: number): Dispatcher {
  const stopping = new AbortController();
  const abandoning = new AbortController();
  // Every loop listens while it has a page, and there may be more than the ten from which Node suspects a leak.
  setMaxListeners(0, abandoning.signal);
  const bell = createBell();
  const step = { onClaim: bell.ring, isReclaimDue: limitTo(RECLAIM_INTERVAL_MS) };
  const loop = async () => {
    while (!stopping.signal.aborted) {
      const pauseMs = await dispatchOrPause(deps, abandoning.signal, step, concurrency);
      if (pauseMs > 0 && !stopping.signal.aborted) await bell.wait(pauseMs);
    }
  };
  const done = Promise.all(Array.from({ length: concurrency }, loop));
  return {
    wake: bell.ring,
    async stop(graceMs) {
      stopping.abort();
      bell.ringAll();
      await Promise.race([done, sleep(graceMs, undefined, { ref: false })]);
      abandoning.abort();
      await done;
    },
  };
}

/** One step of a loop. Returns how long to pause after it, in ms; jitter spreads the polls of many processes. */
async function dispatchOrPause(deps: DispatcherDeps, abandoned: AbortSignal, step: Step, concurrency: number) {
  try {
    const worked = await dispatchNext(deps, abandoned, step);
    deps.faults.noteAnswer();
    return worked ? 0 : POLL_INTERVAL_MS * concurrency * (0.5 + Math.random());
  } catch (error) {
    deps.faults.say(deps.log, 'error', error, 'dispatch failed; it will be tried again');
    return ERROR_PAUSE_MS;
  }
}

/** Says yes once in this time, at most. */
function limitTo(intervalMs: number): () => boolean {
  let saidAt = Number.NEGATIVE_INFINITY;
  return () => {
    const now = performance.now();
    if (now - saidAt < intervalMs) return false;
    saidAt = now;
    return true;
  };
}

type Step = {
  /** Called as soon as a page is claimed, while there may be more to claim. */
  onClaim?: () => void;
  /** Whether to look first for a page that another process has left behind; without anything else to do, that is due. */
  isReclaimDue?: () => boolean;
};

/**
 * Does one step of dispatch: claims a page and carries it to its settlement, or ends a notification whose time is up.
 *
 * @param abandoned - aborted when the process has to leave: the page is given back unsettled.
 * @returns whether there was anything to do.
 */
export async function dispatchNext(
  deps: DispatcherDeps,
  abandoned: AbortSignal,
  { onClaim, isReclaimDue = () => true }: Step = {},
): Promise<boolean> {
  const { db, leaseSeconds, measures } = deps;
  const { pages } = measures;
  const isDue = isReclaimDue();
  const leftBehind = isDue ? await reclaimPage(db, leaseSeconds) : null;
  const cut = leftBehind === null ? await cutPage(db, deps) : null;
  const reclaimed = cut === null && !isDue ? await reclaimPage(db, leaseSeconds) : leftBehind;
  const found = reclaimed ?? cut;
  if (found === null) return false;
  const page = 'kind' in found ? await goOn(deps, found) : found;
  if (page === null) return true;
  pages.claimed += 1;
  if (reclaimed !== null) pages.reclaimed += 1;
  onClaim?.();
  await dispatchPage(deps, page, abandoned);
  return true;
}

/** Does what is to be done with a notification of which no page could be cut. Returns the page that it has come to, if any. */
async function goOn({ db, leaseSeconds }: DispatcherDeps, { kind, notification_id: id }: NoPage) {
  if (kind === 'expired') await expireRunning(db, id);
  if (kind !== 'retrying') return null;
  const page = await reopenPage(db, id, leaseSeconds);
  if (page === null) await endLostRetry(db, id);
  return page;
}

/** No transaction and no connection is held while SNS is called: only the lease, renewed in the background. */
async function dispatchPage(deps: DispatcherDeps, page: ClaimedPage, abandoned: AbortSignal): Promise<void> {
  const log = deps.log.child({ notification_id: page.notification_id, page: page.number, attempt: page.attempt });
  const { measures } = deps;
  const lease = holdLease({ ...deps, log }, page);
  const leave = () => lease.abort(abandoned.reason);
  abandoned.addEventListener('abort', leave);
  if (abandoned.aborted) leave();
  try {
    const result = await publishPage(deps, page, lease.signal);
    const settled = await settleSurely({ ...deps, log }, page, result, lease.signal);
    if (!settled) {
      measures.pages.fenced_out += 1;
      log.warn('page not held any more: taken over by another process, or settled by a try whose answer was lost');
      return;
    }
    addSettled(measures, result);
    log.debug({ users: result.users, published: result.published }, 'page settled');
  } catch (error) {
    if (abandoned.aborted) {
      measures.pages.released += 1;
      await releasePage(deps.db, page);
    } else if (lease.signal.aborted) {
      // Whatever the error says: waits that are aborted bring an error of their own.
      measures.lease.lost += 1;
      log.warn('lease lost while publishing; another process has the page');
    } else throw error;
  } finally {
    abandoned.removeEventListener('abort', leave);
    lease.release();
  }
}

async function publishPage(deps: DispatcherDeps, page: ClaimedPage, signal: AbortSignal): Promise<PageResult> {
  const resolved = await resolveRecipients(deps.db, page);
  signal.throwIfAborted();
  // Whom SNS refused goes alone: one recipient of a message may have been the cause for all.
  const recipientsPerMessage = page.retrying === null ? deps.recipientsPerMessage : 1;
  const messages = composeMessages(page, resolved.recipients, recipientsPerMessage);
  const outcomes = await deps.publisher.publish(messages, signal);
  return tallyPage(resolved, messages, outcomes);
}

/** Waits for a database that is away for as long as it takes. */
async function settleSurely(deps: DispatcherDeps, page: ClaimedPage, result: PageResult, signal: AbortSignal) {
  for (let refusals = 0; ; ) {
    try {
      return await settlePage(deps.db, page, result);
    } catch (error) {
      if (!isDatabaseUnavailable(error)) refusals += 1;
      if (refusals === SETTLE_REFUSALS_MAX) throw error;
      deps.faults.say(deps.log, 'warn', error, 'page published but not settled; it will be tried again');
      await sleep(SETTLE_RETRY_MS, undefined, { signal });
    }
  }
}
