import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import type { Database } from '../database.ts';
import type { FaultLog } from './fault-log.ts';
import type { Measures } from './measures.ts';
import { type ClaimedPage, renewLease } from './pages.ts';

/** Renewals within the length of a lease: two may fail before it is lost. */
const RENEWALS_PER_LEASE = 3;

export type Lease = {
  /** Aborted when the lease is lost to another process, or by `abort`. */
  signal: AbortSignal;
  abort: (reason: unknown) => void;
  /** Stops the renewals. */
  release: () => void;
};

type Deps = { db: Database; log: Logger; faults: FaultLog; measures: Measures; leaseSeconds: number };

/**
 * Renews a page's lease in the background. A database that is away is waited out: mostly nobody can take the page over
 * then, and whoever can does so under the same ids.
 */
export function holdLease({ db, log, faults, measures, leaseSeconds }: Deps, page: ClaimedPage): Lease {
  const controller = new AbortController();
  // Every call to SNS under way listens, far more than the ten from which Node suspects a leak.
  setMaxListeners(0, controller.signal);
  let renewing = false;
  const renew = async () => {
    if (renewing) return;
    renewing = true;
    try {
      if (!(await renewLease(db, page, leaseSeconds))) controller.abort();
    } catch (error) {
      measures.lease.renewals_failed += 1;
      faults.say(log, 'warn', error, 'lease not renewed; the next renewal will try again');
    } finally {
      renewing = false;
    }
  };
  const timer = setInterval(() => void renew(), (leaseSeconds * 1000) / RENEWALS_PER_LEASE);
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    release: () => clearInterval(timer),
  };
}
