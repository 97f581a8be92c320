import { pick } from '../support/random.ts';
import { closeBooks } from './books.ts';
import { notify, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { describeRow } from './row.ts';

const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 300, short: 90 } };

describeRow({ number: 17, fault: 'many requests at once under each of many keys', ...size }, async (rig) => {
  const [keys, copies] = rig.isShort ? [20, 50] : [100, 100];
  const fleet = await startFleet(rig, ['a', 'b', 'c']);
  const ids = new Set<string>();
  const statuses = new Set<string>();
  for (let key = 1; key <= keys; key++) {
    const replies = await Promise.all(
      Array.from({ length: copies }, () => notify(pick(rig.random, fleet), `key-${key}`, key)),
    );
    for (const { status, error, body } of replies) {
      statuses.add(String(status ?? error));
      if (status !== 202) continue;
      ids.add(String(body['id']));
      rig.promised.set(String(body['id']), [key]);
    }
  }
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const { rows } = await rig.sql.query('select id from notifications');
  return {
    books,
    need: {
      'as many notifications as keys': rows.length === keys && ids.size === keys,
      'every request is accepted': statuses.size === 1 && statuses.has('202'),
    },
    figures: { keys, requests: keys * copies, notifications: rows.length, statuses: [...statuses].join(', ') },
  };
});
