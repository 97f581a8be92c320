import type { AuthenticationHandlers } from './authentication-process.ts';
import type { BenchContext } from './bench.ts';
import { startChild } from './child.ts';
import { type Figure, judge } from './figures.ts';
import { describeService } from './service.ts';

const ROUNDS = 60;
const SHORT_ROUNDS = 5;
/** As many users as there have to be for the one whose preferences are read. */
const USERS = 1_000;

/** CPU time that authentication adds to the cheapest call, `GET /preferences/{user_id}`. */
export async function benchAuthentication({ databases, isShort, progress }: BenchContext): Promise<Figure[]> {
  const database = await databases.open('reachable', USERS);
  const child = startChild<AuthenticationHandlers>('authentication-process.js', { env: describeService(database.url) });
  const rounds = isShort ? SHORT_ROUNDS : ROUNDS;
  // The first half is not counted: code that runs for the first time is compiled.
  for (let round = 0; round < rounds * 2; round++) {
    if (round === rounds) await child.call('forget');
    await child.call('round');
    progress(round / rounds / 2);
  }
  const { off, again, key, token } = await child.call('read');
  await child.end();
  const found = { bench: 'authentication', unit: 'µs CPU', yardstick: off };
  return [
    judge({ ...found, figure: 'without, again', value: again }),
    judge({ ...found, figure: 'with a key', value: key, goal: { ratioMax: 1.1 } }),
    judge({ ...found, figure: 'with a JWT', value: token, goal: { ratioMax: 1.15 } }),
  ];
}
