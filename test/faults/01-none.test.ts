import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { describeRow } from './row.ts';

const size = { users: { full: 100_000, short: 5_000 }, limitSeconds: { full: 300, short: 90 } };

describeRow({ number: 1, fault: 'none, three instances', ...size }, async (rig) => {
  const fleet = await startFleet(rig, ['a', 'b', 'c']);

  await broadcast(rig, fleet[0]);
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const instances = new Set(rig.oracle.calls.map(({ instance }) => instance));
  return {
    books,
    need: {
      'all instances published': instances.size === 3,
      'everybody told at the first try': books.recovered.length === 0,
    },
  };
});
