import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { describeRow } from './row.ts';

const LOST_SHARE = 0.05;
const size = { users: { full: 100_000, short: 5_000 }, limitSeconds: { full: 300, short: 90 } };

describeRow({ number: 9, fault: '5 % of the replies of SNS lost', ...size }, async (rig) => {
  const [first] = await startFleet(rig, ['a', 'b']);
  let lostMessages = 0;
  rig.oracle.plan(({ messages }) => {
    if (messages === 0 || rig.random() >= LOST_SHARE) return {};
    lostMessages += messages;
    return { connection: 'lose' };
  });

  await broadcast(rig, first);
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  return {
    // Every one under the dedup key of the first: a copy for another user or channel would be unexpected.
    ...{ books, duplicatesMax: lostMessages },
    need: { 'every message whose reply was lost is doubled': books.duplicated.length === lostMessages },
    figures: { 'messages without a reply': lostMessages },
  };
});
