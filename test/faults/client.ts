import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { pick } from '../support/random.ts';
import type { Instance } from './fleet.ts';
import { COMPLETION_TIMEOUT_MS, findImbalance } from './progress.ts';
import { type Rig, until } from './rig.ts';

/** What came of a request; without a status, nothing was answered, for the reason in `error`. */
export type Reply = {
  status: number | null;
  error: string | null;
  body: Record<string, unknown>;
  retryAfter: string | undefined;
  ms: number;
};

/** Nobody waits longer for an answer: one that takes it has hung. */
const HANG_MS = 15_000;
const RETRY_PAUSE_MS = 100;

type Message = { method?: string; path: string; body?: object; headers?: Record<string, string> };

/** Sends a request on a connection of its own. Never rejects. */
export function send({ url }: { url: string }, { method = 'GET', path, body, headers = {} }: Message): Promise<Reply> {
  const at = performance.now();
  return new Promise((resolve) => {
    const end = (reply: Partial<Reply>) =>
      resolve({ status: null, error: null, body: {}, retryAfter: undefined, ...reply, ms: performance.now() - at });
    const json = body === undefined ? {} : { 'content-type': 'application/json' };
    const sending = request(`${url}${path}`, {
      method,
      agent: false,
      headers: { ...json, ...headers },
      timeout: HANG_MS,
    });
    sending.on('timeout', () => sending.destroy(new Error('hang')));
    sending.on('error', (error: NodeJS.ErrnoException) => end({ error: error.code ?? error.message }));
    sending.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('error', (error: NodeJS.ErrnoException) => end({ error: error.code ?? error.message }));
      response.on('end', () => {
        const isJson = /json/.test(response.headers['content-type'] ?? '');
        end({
          status: response.statusCode ?? null,
          body: isJson ? JSON.parse(text) : {},
          retryAfter: response.headers['retry-after'],
        });
      });
    });
    sending.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Notifies everyone by one of the processes, and returns the id. A process that is busy is asked again. */
export function broadcast(rig: Rig, instance: Instance): Promise<string> {
  return notifySurely(rig, () => [instance], `everyone-${rig.promised.size}`, null);
}

/** Notifies everyone once more when nothing is under way, so that there is something for a fault to hit. */
export async function keepBroadcasting(rig: Rig, instance: Instance): Promise<void> {
  const { rows } = await rig.sql.query(`select from notifications where everyone and status <> 'completed' limit 1`);
  if (rows.length === 0) await broadcast(rig, instance);
}

const PAYLOAD = 'Your statement is ready';

/**
 * Notifies a user, or with null everyone, under a key, by whichever process answers, and again until one has accepted it.
 *
 * @returns the id that it was accepted under.
 */
export async function notifySurely(
  rig: Rig,
  instances: () => Instance[],
  key: string,
  user_id: number | null,
): Promise<string> {
  for (;;) {
    const { status, body } = await notify(pick(rig.random, instances()), key, user_id);
    if (status === 202) {
      const id = String(body['id']);
      rig.promised.set(id, user_id === null ? null : [user_id]);
      return id;
    }
    await sleep(RETRY_PAUSE_MS, undefined, { signal: rig.signal });
  }
}

/** Notifies a user, or with null everyone, under a key. */
export function notify(instance: Instance, key: string, user_id: number | null): Promise<Reply> {
  const body = { payload: PAYLOAD, ...(user_id !== null && { user_ids: [user_id] }) };
  return send(instance, { method: 'POST', path: '/notifications', body, headers: { 'idempotency-key': key } });
}

/** Waits until everything has ended. What has not is in the books then, with everybody who was not told. */
export async function untilCompleted(rig: Rig): Promise<void> {
  const isCompleted = async () => {
    rig.imbalances.push(...(await findImbalance(rig)));
    const { rows } = await rig.sql.query(
      `select from notifications where status not in ('completed', 'canceled', 'expired') or open_pages > 0 limit 1`,
    );
    return rows.length === 0;
  };
  const timeoutMs = COMPLETION_TIMEOUT_MS[rig.isShort ? 'short' : 'full'];
  await until(rig, 'every notification to be completed', timeoutMs, isCompleted).catch((error: Error) => {
    rig.signal.throwIfAborted();
    rig.imbalances.push(error.message);
  });
}
