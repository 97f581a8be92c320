/** Takes a text out of V8's heap, as a parameter of type text: its bytes, which node-postgres sends as they are. */
export type KeepText = (text: string) => Buffer;

/** Memory for the texts of one statement, and when that has come to its end, for those of another. */
export type TextRoom = {
  /** Forgets the texts. Their bytes will be overwritten. */
  clear: () => void;
  keep: KeepText;
};

/** Holds the lists of a batch of ordinary addresses. */
const ROOM_BYTES = 512 * 1024;

/**
 * A text that waits for PostgreSQL outlives a garbage collection, and is then in memory until V8 looks through its old
 * objects: 45 MB of them in an import of a million lines, which adds less than 20 MB without them.
 */
export function createTextRoom(): TextRoom {
  let room = Buffer.allocUnsafeSlow(ROOM_BYTES);
  let used = 0;
  return {
    clear() {
      used = 0;
    },
    keep(text) {
      const bytes = Buffer.byteLength(text);
      if (used + bytes > room.length) {
        // What was kept before stays where it is, in the memory that is left.
        room = Buffer.allocUnsafeSlow(2 * (used + bytes));
        used = 0;
      }
      const start = used;
      used += room.write(text, start);
      return room.subarray(start, used);
    },
  };
}
