import { setTimeout as sleep } from 'node:timers/promises';
import { notify, notifySurely, type Reply, send } from './client.ts';
import type { Instance } from './fleet.ts';
import type { Rig } from './rig.ts';

/** An answer that a probe got, and when it asked, in ms of `performance.now()`. */
export type Probed = Reply & { at: number; instance: string };

export type Probe = {
  replies: Probed[];
  /** Asks no more, and notifies whoever was not accepted until they are. */
  stop: () => Promise<void>;
};

const PAUSE_MS = 250;

/**
 * Asks every process again and again, one request after the other each, by turns to notify somebody and to read: as callers
 * would who meet a fault.
 */
export function startProbe(rig: Rig, fleet: () => Instance[]): Probe {
  const replies: Probed[] = [];
  const unaccepted: { key: string; user_id: number }[] = [];
  const over = new AbortController();
  const ask = async (name: string, isNotifying: boolean, count: number) => {
    const instance = fleet().find((one) => one.name === name);
    if (instance === undefined) return;
    const user_id = 1 + Math.floor(rig.random() * rig.users);
    const key = `probe-${name}-${count}`;
    const at = performance.now();
    const reply = isNotifying
      ? await notify(instance, key, user_id)
      : await send(instance, { path: `/preferences/${user_id}` });
    replies.push({ ...reply, at, instance: name });
    if (!isNotifying) return;
    if (reply.status === 202) rig.promised.set(String(reply.body['id']), [user_id]);
    else unaccepted.push({ key, user_id });
  };
  const loop = async (name: string, isNotifying: boolean) => {
    for (let count = 0; !over.signal.aborted && !rig.signal.aborted; count++) {
      await ask(name, isNotifying, count);
      await sleep(PAUSE_MS);
    }
  };
  const loops = Promise.all(fleet().flatMap(({ name }) => [loop(name, true), loop(name, false)]));
  return {
    replies,
    stop: async () => {
      over.abort();
      await loops;
      await Promise.all(unaccepted.map(({ key, user_id }) => notifySurely(rig, fleet, key, user_id)));
    },
  };
}

/** What was answered, or not, to requests from one time to another. */
export function sumUp(replies: Probed[], from: number, to: number) {
  const within = replies.filter(({ at }) => at >= from && at < to);
  return {
    count: within.length,
    slowestMs: Math.max(0, ...within.map(({ ms }) => ms)),
    /** Neither an answer nor a refusal that says when to come again. */
    wrong: within.filter(
      ({ status, retryAfter }) => !isServed(status) && !(status === 503 && retryAfter !== undefined),
    ),
    refused: within.filter(({ status }) => status === 503).length,
  };
}

/** What was answered instead, each once. */
export const describeWrong = (wrong: Reply[]) =>
  [...new Set(wrong.map(({ status, error }) => status ?? error))].join(', ') || 'none';

/** A preference that is not there is an answer. */
export const isServed = (status: number | null) => status === 200 || status === 202 || status === 404;

/** From a moment until every process has served a request of each kind that it was asked after it, in ms. */
export function measureRecovery(replies: Probed[], instances: string[], since: number): number {
  const firsts = instances.map((name) =>
    replies.find((r) => r.instance === name && r.at >= since && isServed(r.status)),
  );
  return Math.max(
    ...firsts.map((first) => (first === undefined ? Number.POSITIVE_INFINITY : first.at + first.ms - since)),
  );
}
