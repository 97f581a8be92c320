import { type Reason, SUPPRESSION_REASONS } from './counts.ts';
import type { PageResult } from './pages.ts';

/** What became of one call to SNS: every message taken, some, none for now, refused for good, or no answer that helps. */
export type CallResult = 'taken' | 'partial' | 'throttled' | 'refused' | 'failed';

/**
 * What the dispatch of this process has come to since its start. Plain numbers, added to once a page or a call and never
 * once a recipient; whoever shows them reads them when asked.
 */
export type Measures = {
  pages: {
    claimed: number;
    /** Those of the claimed that another process had before. */
    reclaimed: number;
    /** Settled by this process. */
    published: number;
    /** Not settled, because another process had taken the page over. */
    fenced_out: number;
    /** Given back unsettled when the process stopped. */
    released: number;
  };
  /** Of the pages settled. */
  recipients: { published: number; failed: number; suppressed: Record<Reason, number> };
  lease: { renewals_failed: number; lost: number };
  publish: {
    /** Calls made again for messages that an earlier one had not settled. */
    retries: number;
    /** Messages that SNS asked to be patient with. */
    throttled: number;
    /** Entries that SNS failed in a call that it took, by whose fault it said it was. */
    entries_failed: { sender: number; service: number };
    /** Whether SNS is away: one call a second finds out whether it is back. */
    outage: boolean;
  };
  /** Takes note of a call to SNS. */
  observeCall: (result: CallResult, seconds: number) => void;
};

export function createMeasures(observeCall: Measures['observeCall'] = () => undefined): Measures {
  const suppressed = Object.fromEntries(SUPPRESSION_REASONS.map((reason) => [reason, 0])) as Record<Reason, number>;
  return {
    pages: { claimed: 0, reclaimed: 0, published: 0, fenced_out: 0, released: 0 },
    recipients: { published: 0, failed: 0, suppressed },
    lease: { renewals_failed: 0, lost: 0 },
    publish: { retries: 0, throttled: 0, entries_failed: { sender: 0, service: 0 }, outage: false },
    observeCall,
  };
}

/** Adds a page that this process has settled. */
export function addSettled({ pages, recipients }: Measures, { published, failed, suppressed }: PageResult): void {
  pages.published += 1;
  recipients.published += published;
  recipients.failed += failed;
  for (const reason of SUPPRESSION_REASONS) recipients.suppressed[reason] += suppressed[reason] ?? 0;
}
