import { setTimeout as sleep } from 'node:timers/promises';
import { closeBooks } from './books.ts';
import { keepBroadcasting, notify, send, untilCompleted } from './client.ts';
import { type Instance, startFleet, startInstance } from './fleet.ts';
import { slowDown } from './plans.ts';
import { drawMs, type Rig, until } from './rig.ts';
import { describeRow } from './row.ts';

const STOP_MS_MAX = 10_000;
/** Within the drain of a stop, 3 s: how long it may take to be announced, and until whoever asks does so again. */
const NOTICE_TIMEOUT_MS = 3_000;
const PROBE_INTERVAL_MS = 1_000;
/** Pages take less than a process may take to stop. */
const CALL_MS = 100;
/**
 * Who loads the service: so many at a time, each with a pause between two requests. That is half of the 80 a second for which
 * two processes have time beside SNS, or what has come in would take longer to publish than the row lasts.
 */
const CALLERS = 8;
const CALL_PAUSE_MS = 200;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 600, short: 120 } };

describeRow({ number: 15, fault: 'SIGTERM under load, again and again', ...size }, async (rig) => {
  const stops = rig.isShort ? 3 : 20;
  const fleet: Instance[] = await startFleet(rig, ['a', 'b']);
  slowDown(rig, CALL_MS);
  const over = new AbortController();
  const answers: Answers = { refused: [], dropped: [] };
  const callers = Promise.all(
    Array.from({ length: CALLERS }, (_, n) => load(rig, { fleet, over: over.signal, name: `caller-${n}`, answers })),
  );

  const ends: { code: number | null; ms: number }[] = [];
  for (let count = 0; count < stops; count++) {
    const [oldest] = fleet;
    if (oldest === undefined) throw new Error('There is nobody to stop.');
    await keepBroadcasting(rig, oldest);
    await sleep(drawMs(rig, 200, 800));
    const replacement = await startInstance(rig, oldest.name);
    fleet.push(replacement);
    const at = performance.now();
    oldest.process.kill('SIGTERM');
    await leaveOut(rig, fleet, oldest);
    const { code } = await oldest.process.exited;
    ends.push({ code, ms: performance.now() - at });
    rig.log(`${oldest.name} ended with ${code} after ${Math.round(ends.at(-1)?.ms ?? 0)} ms, ${count + 1} of ${stops}`);
  }
  over.abort();
  await callers;
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const slowest = Math.max(...ends.map(({ ms }) => ms));
  return {
    books,
    need: {
      'every stop ends with 0': ends.every(({ code }) => code === 0),
      'every stop takes at most 10 s': slowest <= STOP_MS_MAX,
      'no request is dropped': answers.dropped.length === 0,
    },
    figures: {
      stops,
      'slowest stop s': (slowest / 1_000).toFixed(1),
      requests: rig.promised.size,
      ...{ refused: list(answers.refused), dropped: list(answers.dropped) },
    },
  };
});

/**
 * Does what a load balancer does: asks whether the process is ready, and sends it no more requests when it is not. What it
 * has by then, and what comes in between, has to be answered.
 */
async function leaveOut(rig: Rig, fleet: Instance[], stopping: Instance): Promise<void> {
  const isReady = async () => (await send(stopping, { path: '/health/ready' })).status === 200;
  await until(rig, 'the stop to be announced', NOTICE_TIMEOUT_MS, async () => !(await isReady()));
  await sleep(PROBE_INTERVAL_MS);
  fleet.splice(fleet.indexOf(stopping), 1);
}

type Load = { fleet: Instance[]; over: AbortSignal; name: string; answers: Answers };

/** What was not a 202: refusals that say when to come again, and requests that got no answer, or a wrong one. */
type Answers = { refused: string[]; dropped: string[] };

/** Notifies one user after the other until it is over, of one process after the other, each under a key until accepted. */
async function load(rig: Rig, { fleet, over, name, answers }: Load): Promise<void> {
  for (let count = 1, turn = 0; !over.aborted && !rig.signal.aborted; turn++) {
    const user_id = 1 + ((count * CALLERS) % rig.users);
    const instance = fleet[turn % fleet.length];
    if (instance === undefined) throw new Error('There is nobody to ask.');
    const { status, error, body, retryAfter } = await notify(instance, `${name}-${count}`, user_id);
    const said = [status ?? error, body['code']].join(' ').trim();
    if (status === 202) {
      rig.promised.set(String(body['id']), [user_id]);
      count += 1;
    } else if (status === 503 && retryAfter !== undefined) answers.refused.push(said);
    // A connection that is refused was never accepted: the caller takes another process.
    else if (error !== 'ECONNREFUSED') answers.dropped.push(said);
    await sleep(CALL_PAUSE_MS);
  }
}

const list = (said: string[]) => (said.length === 0 ? 'none' : `${said.length}: ${[...new Set(said)].join(', ')}`);
