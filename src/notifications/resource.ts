import { CHANNEL_NAMES, type Channel } from '../channels.ts';
import type { Notification } from '../generated/client.ts';
import { SUPPRESSION_REASONS } from './counts.ts';
import type { NotificationResource } from './schemas.ts';

/** The columns that only accepting and dispatching need: left out of every read, as the audience may hold 10,000 ids. */
export const UNREAD_COLUMNS = { user_ids: true, request_hash: true } as const;

/** A notification as it is read. */
export type NotificationRow = Omit<Notification, keyof typeof UNREAD_COLUMNS>;

/** The first and last user of the audience `everyone`, to measure how far a cursor has come. */
export type UserRange = { first: number; last: number };

/** Shows a notification to a client. `range` is needed for the progress of an audience that is not exhausted. */
export function toResource(row: NotificationRow, range: UserRange): NotificationResource {
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
    progress: measureProgress(row, settled, range),
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
    ...{ started_at: null, completed_at: null, cursor: 0, exhausted: false },
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
function measureProgress(row: NotificationRow, settled: number, { first, last }: UserRange): number {
  if (row.completed_at !== null && row.open_pages === 0) return 1;
  const share = row.targeted === 0 ? 0 : settled / row.targeted;
  const covered = !row.everyone || row.exhausted ? 1 : (row.cursor - first + 1) / (last - first + 1);
  return Math.round(Math.min(1, Math.max(0, share * covered)) * 10_000) / 10_000;
}

function readCounts<Key extends string>(keys: readonly Key[], json: unknown): Record<Key, number> {
  const counts = (json ?? {}) as Partial<Record<Key, number>>;
  return Object.fromEntries(keys.map((key) => [key, counts[key] ?? 0])) as Record<Key, number>;
}
