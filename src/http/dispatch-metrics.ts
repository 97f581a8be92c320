import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { PoolUse } from '../database.ts';
import { createMeasures, type Measures } from '../notifications/measures.ts';

/** How far dispatch is behind; null when nobody can say. */
export type FindLag = () => Promise<{ oldest: number; waiting: number } | null>;

/** From the round trip of a call within a region to the longest that one may take, in seconds. */
const CALL_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/**
 * Registers what is told of the dispatch and returns where it is counted. Counters are read from there when somebody asks,
 * so that they cost the dispatch no more than an addition.
 */
export function registerDispatch(registry: Registry): Measures {
  const registers = [registry];
  const calls = new Histogram({
    name: 'publish_call_duration_seconds',
    help: 'Time of a PublishBatch call, by what became of it.',
    ...{ labelNames: ['result'], buckets: CALL_BUCKETS, registers },
  });
  const measures = createMeasures((result, seconds) => calls.observe({ result }, seconds));
  const { pages, recipients, lease, publish } = measures;
  const count = (name: string, help: string, read: () => [labels: Record<string, string>, value: number][]) => {
    const labelNames = Object.keys(read()[0]?.[0] ?? {});
    const counter: Counter = new Counter({
      ...{ name, help, labelNames, registers },
      collect() {
        counter.reset();
        for (const [labels, value] of read()) counter.inc(labels, value);
      },
    });
  };
  count('dispatch_pages_total', 'Pages, by what became of them in this process.', () =>
    Object.entries(pages).map(([event, value]) => [{ event }, value]),
  );
  count(
    'dispatch_recipients_total',
    'Users of settled pages, by what became of them, and why they were not told.',
    () => [
      [{ outcome: 'published', reason: 'none' }, recipients.published],
      [{ outcome: 'failed', reason: 'none' }, recipients.failed],
      ...Object.entries(recipients.suppressed).map(([reason, value]): [Record<string, string>, number] => [
        { outcome: 'suppressed', reason },
        value,
      ]),
    ],
  );
  count('dispatch_leases_total', 'Leases of pages that were not renewed in time, by what that came to.', () => [
    [{ event: 'renewal_failed' }, lease.renewals_failed],
    [{ event: 'lost' }, lease.lost],
  ]);
  count('publish_retries_total', 'PublishBatch calls made again for messages not settled before.', () => [
    [{}, publish.retries],
  ]);
  count('publish_throttled_messages_total', 'Messages that SNS throttled.', () => [[{}, publish.throttled]]);
  count(
    'publish_failed_entries_total',
    'Entries that SNS failed in calls it took, by whose fault it said it was.',
    () => Object.entries(publish.entries_failed).map(([fault, value]) => [{ fault }, value]),
  );
  gauge(registry, 'publish_outage', 'Whether SNS is away: 1 while one call a second is tried.', () =>
    publish.outage ? 1 : 0,
  );
  return measures;
}

/** Registers how the pool of connections to PostgreSQL is used. */
export function registerPool(registry: Registry, read: () => PoolUse): void {
  gauge(registry, 'database_pool_max', 'Connections that the pool may open.', () => read().max);
  gauge(registry, 'database_pool_open', 'Connections that are open, or being opened.', () => read().open);
  gauge(registry, 'database_pool_in_use', 'Connections that a statement has.', () => read().in_use);
  gauge(registry, 'database_pool_waiting', 'Statements that wait for a connection.', () => read().waiting);
}

/** Registers how far dispatch is behind: no value, as NaN, when that cannot be found out. */
export function registerLag(registry: Registry, findLag: FindLag): void {
  const read = async (name: 'oldest' | 'waiting') => (await findLag())?.[name] ?? Number.NaN;
  gauge(registry, 'dispatch_lag_seconds', 'Age of the oldest notification that is due and not finished.', () =>
    read('oldest'),
  );
  gauge(registry, 'dispatch_wait_seconds', 'How long the notification that waits longest has waited for a page.', () =>
    read('waiting'),
  );
}

function gauge(registry: Registry, name: string, help: string, read: () => number | Promise<number>): void {
  const metric: Gauge = new Gauge({
    ...{ name, help, registers: [registry] },
    async collect() {
      metric.set(await read());
    },
  });
}
