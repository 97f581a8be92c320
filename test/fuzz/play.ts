import type { Reply } from '../support/service.ts';
import { createModel, findNotification, MISSING, type Model, predict } from './model.ts';
import { type Message, type Step, USERS } from './steps.ts';

/** Where sequences are played: users from `base` on, two callers, and what has to hold of every reply. */
export type Stage = {
  send: (...request: Request) => Promise<Reply>;
  /** Keys of two callers who see their own notifications only. */
  keys: [string, string];
  /** The id before that of a sequence's first user; no two sequences have users in common. */
  base: number;
  judge: (method: string, path: string, reply: Reply) => string[];
};

type Request = [method: string, path: string, body: unknown, headers: Record<string, string>];

const NOWHERE = '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';
const LATER = '2999-01-01T00:00:00Z';

/**
 * Plays a sequence against the service and the model at once.
 *
 * @throws Error at the first reply that is not as predicted, saying both.
 */
export async function playSequence(stage: Stage, steps: readonly Step[]): Promise<void> {
  const model = createModel();
  const ids: string[] = [];
  for (const step of steps) {
    const { method, path, body, by = 0, headers } = compose(stage, model, ids, step);
    const authorization = `Bearer ${stage.keys[by]}`;
    const reply = await stage.send(method, path, body, { ...headers, authorization });
    const predicted = predict(model, step);
    if (step.call === 'notify' && reply.status < 300) learnId(ids, reply);
    const observed = { status: reply.status, said: observe(stage, ids, step, reply) };
    const faults = stage.judge(method, path, reply);
    if (canonical(observed) === canonical(predicted) && faults.length === 0) continue;
    throw new Error(`${JSON.stringify(step)}: ${canonical({ observed, predicted, faults })}\n${reply.text}`);
  }
}

type Call = { method: string; path: string; body?: unknown; by?: 0 | 1; headers?: Record<string, string> };

function compose({ base }: Stage, model: Model, ids: string[], step: Step): Call {
  switch (step.call) {
    case 'createPreference':
      return { method: 'POST', path: '/preferences', body: { user_id: base + 1 + step.user, ...step.switches } };
    case 'putPreference':
      return { method: 'PUT', path: `/preferences/${base + 1 + step.user}`, body: step.switches };
    case 'patchPreference':
      return { method: 'PATCH', path: `/preferences/${base + 1 + step.user}`, body: step.switches };
    case 'getPreference':
      return { method: 'GET', path: `/preferences/${base + 1 + step.user}` };
    case 'deletePreference':
      return { method: 'DELETE', path: `/preferences/${base + 1 + step.user}` };
    case 'listPreferences':
      return { method: 'GET', path: `/preferences?cursor=${base + step.from}&limit=${step.limit}` };
    case 'putUser':
      return { method: 'PUT', path: `/users/${base + 1 + step.user}`, body: composeUser(step) };
    case 'getUser':
      return { method: 'GET', path: `/users/${base + 1 + step.user}` };
    case 'eraseUser':
      return { method: 'DELETE', path: `/users/${base + 1 + step.user}` };
    case 'listUsers':
      return { method: 'GET', path: `/users?cursor=${base + step.from}&limit=${step.limit}` };
    case 'preview':
      return { method: 'POST', path: '/notifications/preview', body: composeMessage(base, { ...step, later: false }) };
    case 'notify':
      return { method: 'POST', path: '/notifications', body: composeMessage(base, step), ...composeOrigin(base, step) };
    case 'listNotifications':
      return { method: 'GET', path: `/notifications?limit=${step.limit}`, by: step.by };
    default: {
      const number = findNotification(model, step.notification);
      const path = `/notifications/${number === MISSING ? NOWHERE : ids[number]}`;
      const part = { getNotification: '', listMessages: '/messages', listFailures: '/failures' };
      if (!(step.call in part)) return { method: 'POST', path: `${path}/${step.call}`, by: step.by };
      return { method: 'GET', path: path + part[step.call as keyof typeof part], by: step.by };
    }
  }
}

const composeUser = ({ email, phone }: { email: boolean; phone: boolean }) => ({
  ...{ email: email ? 'ada@example.com' : null, phone: phone ? '+15550000042' : null },
});

const composeMessage = (base: number, { users, channels, text, later }: Message) => ({
  ...{ payload: `text ${text}`, user_ids: users.map((user) => base + 1 + user) },
  ...(channels !== null && { channels }),
  ...(later && { send_at: LATER }),
});

/** One that is due is waited for, so that it has the counts of this moment. */
function composeOrigin(
  base: number,
  { key, by, later }: Extract<Step, { call: 'notify' }>,
): Pick<Call, 'by' | 'headers'> {
  const repeatable = key === null ? {} : { 'idempotency-key': `${base}-${key}` };
  return { by, headers: { ...repeatable, ...(!later && { prefer: 'wait=30' }) } };
}

function learnId(ids: string[], { body }: Reply): void {
  const { id } = body as { id: string };
  if (!ids.includes(id)) ids.push(id);
}

/** What a reply says, in the words of the model. */
function observe(stage: Stage, ids: string[], step: Step, { status, body, headers }: Reply): unknown {
  if (status >= 400) return (body as { code: string }).code;
  if (status === 204) return body;
  if (step.call === 'preview') return readCounts({ ...(body as object), pending: 0 });
  if (step.call === 'notify')
    return { ...readSent(ids, body), replayed: headers.get('idempotency-replayed') === 'true' };
  if (['getNotification', 'cancel', 'retry'].includes(step.call)) return readSent(ids, body);
  const read = (row: unknown) => readUser(stage, row as { user_id: number });
  if (!Array.isArray(body)) return read(body);
  // Those of earlier sequences are older; those of others have other users.
  if (step.call === 'listNotifications')
    return body.map((row) => readSent(ids, row)).filter(({ number }) => number >= 0);
  return body.filter(({ user_id }) => user_id <= stage.base + USERS).map(read);
}

function readUser({ base }: Stage, row: { user_id: number } & Record<string, unknown>): unknown {
  const { user_id, email_enabled, sms_enabled, email, phone, channels } = row;
  const user = user_id - base - 1;
  if (channels !== undefined) return { user, channels };
  if (email_enabled !== undefined) return { user, email_enabled, sms_enabled };
  return { user, email: email !== null, phone: phone !== null };
}

function readSent(ids: string[], shown: unknown) {
  const { id, status, payload, counts } = shown as { id: string; status: string; payload: string; counts: object };
  return { number: ids.indexOf(id), status, text: Number(payload.replace('text ', '')), counts: readCounts(counts) };
}

function readCounts(counts: object) {
  const { targeted, published, pending, suppressed, by_channel } = counts as Record<string, unknown>;
  const reasons = Object.entries(suppressed as object).filter(([, users]) => users !== 0);
  return { targeted, published, pending, suppressed: Object.fromEntries(reasons), by_channel };
}

/** The same text for the same value, whatever the order of its keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
