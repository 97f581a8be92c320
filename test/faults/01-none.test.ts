import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { until } from './rig.ts';
import { describeRow } from './row.ts';

/** Before the service gives up a call. */
const CALL_MS_MAX = 4_000;
const size = { users: { full: 100_000, short: 5_000 }, limitSeconds: { full: 300, short: 90 } };

describeRow({ number: 1, fault: 'none, three instances', ...size }, async (rig) => {
  const fleet = await startFleet(rig, ['a', 'b', 'c']);
  const instances = new Set<string>();
  const haveAllPublished = () => instances.size === fleet.length;
  // SNS is so fast here that two might have told everybody before the third looks for work.
  rig.oracle.plan(({ instance, messages }) => {
    if (messages > 0) instances.add(instance);
    return { replyAfter: until(rig, 'all to publish', CALL_MS_MAX, haveAllPublished).catch(() => undefined) };
  });

  await broadcast(rig, fleet[0]);
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  return {
    books,
    need: {
      'all instances published': haveAllPublished(),
      'everybody told at the first try': books.recovered.length === 0,
    },
  };
});
