import { readExpected } from './audience.ts';
import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { listEffects, startConsumption } from './consumption.ts';
import { startFleet } from './fleet.ts';
import { describeRow } from './row.ts';

const LOST_SHARE = 0.05;
const size = { users: { full: 100_000, short: 5_000 }, limitSeconds: { full: 900, short: 120 } };

describeRow({ number: 9, fault: '5 % of the replies of SNS lost', ...size }, async (rig) => {
  const [first] = await startFleet(rig, ['a', 'b']);
  const consumption = await startConsumption(rig);
  let lostMessages = 0;
  rig.oracle.plan(async ({ messages, entries }) => {
    if (messages === 0) return {};
    const isLost = rig.random() < LOST_SHARE;
    await consumption.forward(entries);
    if (!isLost) return {};
    lostMessages += messages;
    return { connection: 'lose' };
  });

  await broadcast(rig, first);
  await untilCompleted(rig);
  const effects = await consumption.finish();

  const books = await closeBooks(rig);
  const wanted = listEffects(await readExpected(rig.sql, rig.promised));
  return {
    // Every one under the dedup key of the first: a copy for another user or channel would be unexpected.
    ...{ books, duplicatesMax: lostMessages },
    need: {
      'every message whose reply was lost is doubled': books.duplicated.length === lostMessages,
      'the consumers deliver to everyone, at their address, exactly once':
        effects.toSorted().join('\n') === wanted.toSorted().join('\n'),
    },
    figures: { 'messages without a reply': lostMessages, 'deliveries by the consumers': effects.length },
  };
});
