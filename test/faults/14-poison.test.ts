import { closeBooks } from './books.ts';
import { broadcast, untilCompleted } from './client.ts';
import { readFailures } from './failures.ts';
import { startFleet } from './fleet.ts';
import { describeRow } from './row.ts';

const size = { users: { full: 100_000, short: 3_000 }, limitSeconds: { full: 300, short: 90 } };
const REASON = 'Invalid parameter: PublishBatchRequestEntries';

/** For whose sake SNS refuses a call as a whole: some twenty users, however many there are. */
const poisons = (users: number) => (user_id: number) => user_id % (users / 20) === 3;

describeRow({ number: 14, fault: 'a recipient for whom SNS refuses the whole batch', ...size }, async (rig) => {
  const isPoison = poisons(rig.users);
  const [first] = await startFleet(rig, ['a', 'b']);
  rig.oracle.plan(({ entries }) =>
    entries.some(({ body }) => isPoison(Number(/"user_id":(\d+)/.exec(body)?.[1])))
      ? { refuse: { status: 400, code: 'InvalidParameter', message: REASON } }
      : {},
  );

  await broadcast(rig, first);
  await untilCompleted(rig);

  const books = await closeBooks(rig, { refused: isPoison });
  const failures = await readFailures(rig);
  return {
    books,
    need: {
      'each of them is listed with the reason': failures.every(
        ({ user_id, code, reason }) => isPoison(user_id) && code === 'InvalidParameter' && reason === REASON,
      ),
      'they are twenty': failures.length === 20,
    },
    figures: { refused: failures.length },
  };
});
