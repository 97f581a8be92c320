import { MESSAGE_BYTES_MAX, type Message } from './message.ts';

/** Groups messages into batches of at most `entriesMax` entries and 256 KiB in all. */
export function groupBatches(messages: Message[], entriesMax: number): Message[][] {
  const batches: Message[][] = [];
  let batch: Message[] = [];
  let bytes = 0;
  for (const message of messages) {
    if (batch.length === entriesMax || (batch.length > 0 && bytes + message.bytes > MESSAGE_BYTES_MAX)) {
      batches.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(message);
    bytes += message.bytes;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}
