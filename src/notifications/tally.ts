import { channelsOfBits } from '../channels.ts';
import type { Message } from './message.ts';
import type { PageResult } from './pages.ts';
import type { Outcome } from './publisher.ts';
import type { Resolved } from './recipients.ts';
import type { Refusal } from './refusal.ts';

/** Adds up what became of a page's users. `messages` and `outcomes` have one length and order. */
export function tallyPage(resolved: Resolved, messages: Message[], outcomes: Outcome[]): PageResult {
  const { users, suppressed } = resolved;
  const result: PageResult = {
    ...{ users, suppressed, published: 0, failed: 0, messages: 0, by_channel: {} },
    ...{ user_ids: [], message_ids: [], channel_bits: [], failures: [] },
  };
  for (const [index, message] of messages.entries()) {
    const outcome = outcomes[index];
    if (outcome === undefined) throw new Error('A message has no outcome.');
    if ('message_id' in outcome) addPublished(result, message, outcome.message_id);
    else addFailed(result, message, outcome);
  }
  return result;
}

function addPublished(result: PageResult, { user_ids, channel_bits }: Message, messageId: string): void {
  result.messages += 1;
  result.published += user_ids.length;
  for (const channel of channelsOfBits(channel_bits)) {
    result.by_channel[channel] = (result.by_channel[channel] ?? 0) + user_ids.length;
  }
  for (const user_id of user_ids) {
    result.user_ids.push(user_id);
    result.message_ids.push(messageId);
    result.channel_bits.push(channel_bits);
  }
}

function addFailed(result: PageResult, { user_ids }: Message, refusal: Refusal): void {
  result.failed += user_ids.length;
  for (const user_id of user_ids) result.failures.push({ user_id, ...refusal });
}
