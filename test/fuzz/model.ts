import type { Message, Step, Switches } from './steps.ts';

/** What the service is, said as simply as it can be: some maps. Everything in it is predicted, nothing is read. */
export type Model = {
  preferences: Map<number, Required<Switches>>;
  users: Map<number, { email: boolean; phone: boolean }>;
  notifications: Sent[];
};

/** A notification. `told` is who was told on which channels. */
type Sent = {
  by: number;
  key: number | null;
  message: Message;
  status: 'scheduled' | 'completed' | 'canceled';
  counts: Counts;
  told: { user: number; channels: string[] }[];
};

type Counts = {
  targeted: number;
  published: number;
  pending: number;
  suppressed: Record<string, number>;
  by_channel: { email: number; sms: number };
};

/** A prediction: the status with, of a refusal, its code, and of anything else what the reply has to say. */
export type Prediction = { status: number; said: unknown };

/** Where no notification of a sequence has the number of a step. */
export const MISSING = -1;

export function createModel(): Model {
  return { preferences: new Map(), users: new Map(), notifications: [] };
}

/** The number of a notification that a step names: those of a sequence count anew behind the last. */
export function findNotification({ notifications }: Model, named: number): number {
  return notifications.length === 0 ? MISSING : named % notifications.length;
}

/** Makes a step, and predicts the reply to it. */
export function predict(model: Model, step: Step): Prediction {
  switch (step.call) {
    case 'createPreference':
      if (model.preferences.has(step.user)) return refuse(409, 'preference_exists');
      return { ...putPreference(model, step.user, step.switches), status: 201 };
    case 'putPreference':
      return putPreference(model, step.user, step.switches);
    case 'patchPreference':
      if (!model.preferences.has(step.user)) return refuse(404, 'preference_not_found');
      return putPreference(model, step.user, { ...model.preferences.get(step.user), ...step.switches });
    case 'getPreference':
      return show(model.preferences, step.user, 'preference_not_found');
    case 'deletePreference':
      if (!model.preferences.delete(step.user)) return refuse(404, 'preference_not_found');
      return { status: 204, said: '' };
    case 'listPreferences':
      return list(model.preferences, step);
    case 'putUser': {
      const { user, email, phone } = step;
      const status = model.users.has(user) ? 200 : 201;
      model.users.set(user, { email, phone });
      return { ...show(model.users, user, ''), status };
    }
    case 'getUser':
      return show(model.users, step.user, 'user_not_found');
    case 'eraseUser':
      if (!model.users.delete(step.user)) return refuse(404, 'user_not_found');
      model.preferences.delete(step.user);
      return { status: 204, said: '' };
    case 'listUsers':
      return list(model.users, step);
    case 'preview':
      return { status: 200, said: resolve(model, step).counts };
    case 'notify':
      return notify(model, step);
    default:
      return readOrCancel(model, step);
  }
}

const refuse = (status: number, code: string): Prediction => ({ status, said: code });

function putPreference(model: Model, user: number, switches: Switches): Prediction {
  const status = model.preferences.has(user) ? 200 : 201;
  model.preferences.set(user, { email_enabled: false, sms_enabled: false, ...switches });
  return { ...show(model.preferences, user, ''), status };
}

function show(rows: Map<number, object>, user: number, missing: string): Prediction {
  const row = rows.get(user);
  return row === undefined ? refuse(404, missing) : { status: 200, said: { user, ...row } };
}

function list(rows: Map<number, object>, { from, limit }: { from: number; limit: number }): Prediction {
  const shown = [...rows].filter(([user]) => user >= from).toSorted(([a], [b]) => a - b);
  return { status: 200, said: shown.slice(0, limit).map(([user, row]) => ({ user, ...row })) };
}

function notify(model: Model, step: Extract<Step, { call: 'notify' }>): Prediction {
  const { by, key, call: _, ...message } = step;
  const known = model.notifications.find((sent) => key !== null && sent.key === key && sent.by === by);
  if (known !== undefined && normalize(known.message) !== normalize(message))
    return refuse(422, 'idempotency_key_reused');
  const { counts, told } = resolve(model, message);
  const waiting = {
    ...counts,
    published: 0,
    pending: counts.targeted,
    suppressed: {},
    by_channel: { email: 0, sms: 0 },
  };
  const sent: Sent = known ?? {
    ...{ by, key, message, status: message.later ? 'scheduled' : 'completed' },
    ...(message.later ? { counts: waiting, told: [] } : { counts, told }),
  };
  if (known === undefined) model.notifications.push(sent);
  const number = model.notifications.indexOf(sent);
  // Who asks again hears what was answered first; who waits for a dispatch, what has become of it.
  const answered: Sent = message.later ? { ...sent, status: 'scheduled', counts: waiting } : sent;
  return { status: message.later ? 202 : 200, said: { ...describe(answered, number), replayed: known !== undefined } };
}

/** What makes two requests the same. */
function normalize({ users, channels, text, later }: Message): string {
  return JSON.stringify([listOnce(users), channels ?? ['email', 'sms'], text, later]);
}

const listOnce = (users: number[]) => [...new Set(users)].toSorted((a, b) => a - b);

const describe = ({ status, message, counts }: Sent, number: number) => ({
  number,
  status,
  text: message.text,
  counts,
});

/** Who would be told on which channel, and why the others would not. */
function resolve({ users, preferences }: Model, message: Message): Pick<Sent, 'counts' | 'told'> {
  const audience = listOnce(message.users);
  const wanted = message.channels ?? ['email', 'sms'];
  const counts = {
    targeted: audience.length,
    published: 0,
    pending: 0,
    suppressed: {},
    by_channel: { email: 0, sms: 0 },
  };
  const suppressed: Record<string, number> = counts.suppressed;
  const told: Sent['told'] = [];
  for (const user of audience) {
    const address = users.get(user);
    const switches = preferences.get(user);
    const on = wanted.filter((channel) => switches?.[`${channel}_enabled`] === true);
    const channels = on.filter((channel) => (channel === 'email' ? address?.email : address?.phone) === true);
    const reason = findReason({ address, switches, on, channels });
    if (reason !== null) suppressed[reason] = (suppressed[reason] ?? 0) + 1;
    else {
      told.push({ user, channels });
      counts.published += 1;
      for (const channel of channels) counts.by_channel[channel] += 1;
    }
  }
  return { counts, told };
}

function findReason(user: { address: unknown; switches: unknown; on: string[]; channels: string[] }): string | null {
  if (user.address === undefined) return 'unknown_user';
  if (user.switches === undefined) return 'no_preferences';
  if (user.on.length === 0) return 'opted_out';
  return user.channels.length === 0 ? 'no_contact' : null;
}

type Reading = Extract<Step, { notification: number } | { call: 'listNotifications' }>;

function readOrCancel(model: Model, step: Reading): Prediction {
  if (step.call === 'listNotifications') {
    const own = [...model.notifications.entries()].filter(([, { by }]) => by === step.by).toReversed();
    return { status: 200, said: own.slice(0, step.limit).map(([number, sent]) => describe(sent, number)) };
  }
  const number = findNotification(model, step.notification);
  const sent = model.notifications[number];
  // Another's is answered like none.
  if (sent === undefined || sent.by !== step.by) return refuse(404, 'notification_not_found');
  if (step.call === 'listMessages') return { status: 200, said: sent.told };
  // The emulator refuses nobody.
  if (step.call === 'listFailures') return { status: 200, said: [] };
  if (step.call === 'retry' && sent.status === 'canceled') return refuse(409, 'illegal_transition');
  if (step.call === 'cancel') {
    if (sent.status === 'completed') return refuse(409, 'illegal_transition');
    const { targeted } = sent.counts;
    sent.status = 'canceled';
    sent.counts = { ...sent.counts, pending: 0, suppressed: targeted === 0 ? {} : { canceled: targeted } };
  }
  return { status: 200, said: describe(sent, number) };
}
