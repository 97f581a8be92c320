import pLimit from 'p-limit';
import { ServiceError } from '../errors.ts';
import type { NotificationInput } from './input-schema.ts';

/** Counts under way at once: each keeps a connection of `DATABASE_POOL_MAX` busy, which reads and dispatch need, too. */
const COUNTS_MAX = 2;
/** Counts that wait for their turn: at a second or two for a million users, the last is answered within half a minute. */
const COUNTS_WAITING_MAX = 16;
/** Users named up to this number are counted at once: a few hundredths of a second. */
const SMALL_AUDIENCE_USERS = 1_000;

/**
 * Does `count` for the audience of `input` when it is its turn.
 *
 * @throws ServiceError overloaded, at once, when too many wait already
 * @throws what `signal` is aborted with by then, and nothing is counted
 */
export type CountQueue = <Result>(
  input: Pick<NotificationInput, 'user_ids'>,
  signal: AbortSignal,
  count: () => Promise<Result>,
) => Promise<Result>;

/** The turns in which large audiences are counted in a process. */
export function createCountQueue(): CountQueue {
  const limit = pLimit(COUNTS_MAX);
  return async ({ user_ids }, signal, count) => {
    if (user_ids !== undefined && user_ids.length <= SMALL_AUDIENCE_USERS) return count();
    if (limit.pendingCount >= COUNTS_WAITING_MAX) {
      throw new ServiceError('overloaded', 'Too many audiences are being counted at the moment. Try again shortly.');
    }
    return limit(() => {
      signal.throwIfAborted();
      return count();
    });
  };
}
