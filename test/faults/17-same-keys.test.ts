import { closeBooks } from './books.ts';
import { notifySurely, untilCompleted } from './client.ts';
import { startFleet } from './fleet.ts';
import { describeRow } from './row.ts';

const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 300, short: 90 } };

describeRow({ number: 17, fault: 'many requests at once under each of many keys', ...size }, async (rig) => {
  const [keys, copies] = rig.isShort ? [20, 50] : [100, 100];
  const fleet = await startFleet(rig, ['a', 'b', 'c']);
  const ids = new Set<string>();
  for (let key = 1; key <= keys; key++) {
    const copy = () => notifySurely(rig, () => fleet, `key-${key}`, key);
    for (const id of await Promise.all(Array.from({ length: copies }, copy))) ids.add(id);
  }
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const { rows } = await rig.sql.query('select id from notifications');
  return {
    books,
    need: {
      'as many notifications as keys': rows.length === keys && ids.size === keys,
    },
    figures: { keys, requests: keys * copies, notifications: rows.length },
  };
});
