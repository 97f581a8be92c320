import { ServiceError } from '../errors.ts';

/** How old what is known of a key may be, in milliseconds: revoked, it is refused everywhere within 5 s. */
const AGE_MS_MAX = 3_000;
/** Keys kept: about 10 MB. Unknown ids are not, as anybody can make them up. */
const KEYS_MAX = 10_000;

/**
 * Wraps a read so that it runs once for all who ask for a key at the same time, and its answer serves for `AGE_MS_MAX`.
 * `readAt` is by `performance.now()`, before the question was sent: an answer that took too long is not used.
 *
 * @throws ServiceError unavailable, when the answer took longer than it may be used
 */
export function createKeyCache<Key extends { readAt: number }>(
  read: (id: string) => Promise<Key | null>,
): (id: string) => Promise<Key | null> {
  const known = new Map<string, Key>();
  const reading = new Map<string, Promise<Key | null>>();
  const readAndKeep = async (id: string) => {
    const key = await read(id);
    known.delete(id);
    if (key !== null) keep(known, id, key);
    return key;
  };
  const readOnce = (id: string) => {
    // It is forgotten later than it is set, even where the read throws at once.
    const answer = readAndKeep(id).finally(() => reading.delete(id));
    reading.set(id, answer);
    return answer;
  };
  return async (id) => {
    const cached = known.get(id);
    if (cached !== undefined && isFresh(cached)) return cached;
    const key = await (reading.get(id) ?? readOnce(id));
    if (key !== null && !isFresh(key)) throw new ServiceError('unavailable');
    return key;
  };
}

const isFresh = ({ readAt }: { readAt: number }) => performance.now() - readAt < AGE_MS_MAX;

/** The key that was read longest ago makes room. */
function keep<Key>(known: Map<string, Key>, id: string, key: Key): void {
  const [oldest] = known.size >= KEYS_MAX ? known.keys() : [];
  if (oldest !== undefined) known.delete(oldest);
  known.set(id, key);
}
