import { closeBooks } from './books.ts';
import { keyOf } from './checker.ts';
import { broadcast, untilCompleted } from './client.ts';
import { readFailures } from './failures.ts';
import { startFleet } from './fleet.ts';
import { describeRow } from './row.ts';

/** Of the calls, how many have an entry that SNS fails by its own fault. */
const FAILING_SHARE = 0.1;
const size = { users: { full: 100_000, short: 5_000 }, limitSeconds: { full: 300, short: 90 } };

/** About one of a hundred recipients, so that about a tenth of the batches have one. */
const isRefused = (user_id: number) => user_id % 101 === 0;

describeRow({ number: 10, fault: '10 % of the batches partly failed', ...size }, async (rig) => {
  const [first] = await startFleet(rig, ['a', 'b']);
  rig.oracle.plan(() => {
    const failing = rig.random() < FAILING_SHARE ? 1 + Math.floor(rig.random() * 9) : 0;
    return {
      fail: ({ id, body }) => {
        if (isRefused(Number(/"user_id":(\d+)/.exec(body)?.[1])))
          return { code: 'InvalidParameter', reason: REASON, senderFault: true };
        return Number(id) < failing ? { code: 'InternalError', senderFault: false } : undefined;
      },
    };
  });

  await broadcast(rig, first);
  await untilCompleted(rig);

  const books = await closeBooks(rig, { refused: isRefused });
  const attempts = rig.oracle.journal.filter(({ user_id }) => isRefused(user_id));
  const failures = await readFailures(rig);
  return {
    books,
    need: {
      'transient failures were tried again': books.recovered.length > 0,
      'who is refused is tried once': attempts.length > 0 && new Set(attempts.map(keyOf)).size === attempts.length,
      'who is refused has the reason': failures.every(
        ({ code, reason }) => code === 'InvalidParameter' && reason === REASON,
      ),
      'everybody refused is listed':
        failures.length === attempts.length && failures.every(({ user_id }) => isRefused(user_id)),
    },
    figures: { refused: failures.length, 'retried messages': books.recovered.length },
  };
});

const REASON = 'Invalid parameter: Message';
