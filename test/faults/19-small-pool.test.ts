import { pick } from '../support/random.ts';
import { closeBooks } from './books.ts';
import { keepBroadcasting, notify, type Reply, send, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import { isServed } from './probe.ts';
import { describeRow } from './row.ts';

const PARALLEL = 500;
const ANSWER_MS_MAX = 5_000;
const CALL_MS = 20;
/** The others read. Every notification of one user has a turn before the broadcast's next, and here it waits for the pool, too. */
const NOTIFY_EVERY = 100;
const size = { users: { full: 100_000, short: 20_000 }, limitSeconds: { full: 400, short: 120 } };

describeRow({ number: 19, fault: 'a pool of 5, 500 requests at once, a broadcast', ...size }, async (rig) => {
  const rounds = rig.isShort ? 4 : 30;
  const fleet = await startFleet(rig, ['a', 'b'], { DATABASE_POOL_MAX: '5' });
  slowDown(rig, CALL_MS);
  const replies: Reply[] = [];
  const progress: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    await keepBroadcasting(rig, fleet[0]);
    const before = rig.oracle.journal.length;
    const asked = Array.from({ length: PARALLEL }, async (_, index) => {
      const user_id = 1 + Math.floor(rig.random() * rig.users);
      const instance = pick(rig.random, fleet);
      if (index % NOTIFY_EVERY > 0) return send(instance, { path: `/preferences/${user_id}` });
      const reply = await notify(instance, `request-${round}-${index}`, user_id);
      if (reply.status === 202) rig.promised.set(String(reply.body['id']), [user_id]);
      return reply;
    });
    replies.push(...(await Promise.all(asked)));
    const told = rig.oracle.journal.slice(before);
    progress.push(told.filter(({ notification_id }) => rig.promised.get(notification_id) === null).length);
  }
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const slowestMs = Math.max(...replies.map(({ ms }) => ms));
  const unserved = replies.filter(({ status }) => !isServed(status));
  return {
    books,
    need: {
      'every request is answered within 5 s': slowestMs <= ANSWER_MS_MAX,
      'by an answer, or 503 with Retry-After': unserved.every(
        ({ status, retryAfter }) => status === 503 && retryAfter !== undefined,
      ),
      'the broadcast goes on': progress.filter((messages) => messages > 0).length >= rounds / 2,
    },
    figures: {
      'rounds with progress': progress.filter((messages) => messages > 0).length,
      requests: replies.length,
      refused: unserved.length,
      'slowest answer s': (slowestMs / 1_000).toFixed(1),
    },
  };
});
