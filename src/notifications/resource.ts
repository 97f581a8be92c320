import { CHANNEL_NAMES, type Channel } from '../channels.ts';
import type { Notification } from '../generated/client.ts';
import { RATE_SECONDS, SUPPRESSION_REASONS } from './counts.ts';
import type { NotificationResource } from './schemas.ts';

/** The columns that only accepting and dispatching need: left out of every read, as the audience may hold 10,000 ids. */
export const UNREAD_COLUMNS = { user_ids: true, request_hash: true } as const;

/** The last moment of the year 9999, beyond which RFC 3339 has no dates. */
const ETA_MS_MAX = Date.UTC(10_000, 0) - 1;

/** A notification as it is read. */
export type NotificationRow = Omit<Notification, keyof typeof UNREAD_COLUMNS>;

/** By what the progress of a dispatch is measured: the database's clock, and the first and last user of `everyone`. */
export type Yardstick = { now: Date; first: number; last: number };

/** For notifications that are not under way. */
export const NO_YARDSTICK: Yardstick = { now: new Date(0), first: 0, last: 0 };

/** Whether showing a notification takes a yardstick. */
export function needsYardstick({
  status,
  everyone,
  exhausted,
}: Pick<NotificationRow, 'status' | 'everyone' | 'exhausted'>): boolean {
  return status === 'dispatching' || (everyone && !exhausted);
}

/** Shows a notification to a client. */
export function toResource(row: NotificationRow, yardstick: Yardstick): NotificationResource {
  const suppressed = readCounts(SUPPRESSION_REASONS, row.suppressed);
  const { targeted, published, failed, messages } = row;
  const settled = published + failed + Object.values(suppressed).reduce((sum, users) => sum + users, 0);
  return {
    id: row.id,
    status: row.status,
    subject: row.subject,
    payload: row.payload,
    audience: row.everyone
      ? { type: 'everyone', count: row.exhausted ? targeted : null }
      : { type: 'users', count: targeted },
    channels: row.channels as Channel[],
    created_at: row.created_at,
    send_at: row.send_at,
    expires_at: row.expires_at,
    started_at: row.started_at,
    completed_at: row.completed_at,
    progress: measureProgress(row, settled, yardstick),
    ...measurePace(row, settled, yardstick),
    counts: {
      ...{ targeted, published, failed, pending: targeted - settled },
      ...{ suppressed, by_channel: readCounts(CHANNEL_NAMES, row.by_channel), messages },
    },
  };
}

/** A notification as it was answered when it was accepted: what a repeated request gets. */
export function toAcceptedRow(row: NotificationRow): NotificationRow {
  return {
    ...row,
    status: row.send_at !== null && row.send_at > row.created_at ? 'scheduled' : 'queued',
    ...{ started_at: null, completed_at: null, cursor: 0, exhausted: false, recent_since: null },
    ...{
      targeted: row.everyone ? 0 : row.targeted,
      published: 0,
      failed: 0,
      messages: 0,
      suppressed: {},
      by_channel: {},
    },
  };
}

/** What says how far a dispatch has come. */
type DispatchState = Pick<NotificationRow, 'exhausted' | 'open_pages' | 'completed_at'>;

/** Whether nothing of it is left to do, the pages of a canceled one included. */
export function isDispatched({ exhausted, open_pages, completed_at }: DispatchState): boolean {
  return exhausted && open_pages === 0 && completed_at !== null;
}

/** The share of the audience that is settled; of everyone, estimated by how far the ids are covered. */
function measureProgress(row: NotificationRow, settled: number, yardstick: Yardstick): number {
  if (row.completed_at !== null && row.open_pages === 0) return 1;
  const share = row.targeted === 0 ? 0 : settled / row.targeted;
  const progress = Math.min(1, Math.max(0, share * measureCovered(row, yardstick)));
  return Math.round(progress * 10_000) / 10_000;
}

/** The share of the audience that pages cover. Users may have come or gone since. */
function measureCovered(row: NotificationRow, { first, last }: Yardstick): number {
  if (!row.everyone || row.exhausted) return 1;
  return Math.min(1, Math.max(0, (row.cursor - first + 1) / (last - first + 1)));
}

/** How fast it goes, and when it would be done. */
function measurePace(
  row: NotificationRow,
  settled: number,
  yardstick: Yardstick,
): { rate: number | null; eta: Date | null } {
  if (row.status !== 'dispatching') return { rate: null, eta: null };
  const rate = Math.round(measureRate(row, yardstick.now) * 10) / 10;
  if (rate === 0) return { rate, eta: null };
  const audience = row.targeted / measureCovered(row, yardstick);
  const etaMs = yardstick.now.getTime() + (Math.max(0, audience - settled) / rate) * 1000;
  return { rate, eta: etaMs <= ETA_MS_MAX ? new Date(etaMs) : null };
}

/** Users settled per second: what `settlePage` has added up, with the weight it has by now. */
function measureRate({ recent_users, recent_at, recent_since }: NotificationRow, now: Date): number {
  if (recent_at === null || recent_since === null) return 0;
  const weigh = (since: Date) => Math.exp(-Math.max(0, now.getTime() - since.getTime()) / 1000 / RATE_SECONDS);
  // The weight of all the time since it began; at least that of a millisecond, the unit of the clock.
  const weight = Math.max(0.001, RATE_SECONDS * (1 - weigh(recent_since)));
  return (recent_users * weigh(recent_at)) / weight;
}

function readCounts<Key extends string>(keys: readonly Key[], json: unknown): Record<Key, number> {
  const counts = (json ?? {}) as Partial<Record<Key, number>>;
  return Object.fromEntries(keys.map((key) => [key, counts[key] ?? 0])) as Record<Key, number>;
}
