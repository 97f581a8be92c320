import { pick } from '../support/random.ts';
import { closeBooks } from './books.ts';
import { broadcast, notify, type Reply, send, untilCompleted } from './client.ts';
import { paceMs, startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import { isServed } from './probe.ts';
import { describeRow } from './row.ts';

const PARALLEL = 500;
const ANSWER_MS_MAX = 5_000;
const size = { users: { full: 100_000, short: 3_000 }, limitSeconds: { full: 400, short: 120 } };

describeRow({ number: 19, fault: 'a pool of 5, 500 requests at once, a broadcast', ...size }, async (rig) => {
  const rounds = rig.isShort ? 4 : 30;
  const fleet = await startFleet(rig, ['a', 'b'], { DATABASE_POOL_MAX: '5' });
  slowDown(rig, paceMs(rig, rig.isShort ? 12 : 60));
  await broadcast(rig, fleet[0]);
  const replies: Reply[] = [];
  const progress: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const before = rig.oracle.journal.length;
    const asked = Array.from({ length: PARALLEL }, async (_, index) => {
      const user_id = 1 + Math.floor(rig.random() * rig.users);
      const instance = pick(rig.random, fleet);
      if (index % 5 > 0) return send(instance, { path: `/preferences/${user_id}` });
      const reply = await notify(instance, `request-${round}-${index}`, user_id);
      if (reply.status === 202) rig.promised.set(String(reply.body['id']), [user_id]);
      return reply;
    });
    replies.push(...(await Promise.all(asked)));
    progress.push(rig.oracle.journal.length - before);
  }
  slowDown(rig, 0);
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
    figures: { requests: replies.length, refused: unserved.length, 'slowest answer s': (slowestMs / 1_000).toFixed(1) },
  };
});
