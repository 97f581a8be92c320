import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import type { Database } from '../database.ts';
import { type ClaimedPage, renewLease } from './pages.ts';

/** Renewals within the length of a lease: two may fail before it is lost. */
const RENEWALS_PER_LEASE = 3;

/** Why work on a page was aborted: another process has it now. */
export class LeaseLostError extends Error {}

export type Lease = {
  /** Aborted with LeaseLostError when the lease is lost, or by `abort`. */
  signal: AbortSignal;
  abort: (reason: unknown) => void;
  /** Stops the renewals. */
  release: () => void;
};

/** Renews a page's lease in the background. An outage of the database is waited out: nobody can take the page over then. */
export function holdLease(db: Database, page: ClaimedPage, leaseSeconds: number, log: Logger): Lease {
  const controller = new AbortController();
  // Every call to SNS under way listens, far more than the ten from which Node suspects a leak.
  setMaxListeners(0, controller.signal);
  let renewing = false;
  const renew = async () => {
    if (renewing) return;
    renewing = true;
    try {
      if (!(await renewLease(db, page, leaseSeconds))) controller.abort(new LeaseLostError());
    } catch (error) {
      log.warn({ err: error }, 'lease not renewed; the next renewal will try again');
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
