import * as fc from 'fast-check';

/** Users of a sequence, by their place in it. */
export const USERS = 4;

/** One call of a sequence. Users and notifications are named by number, callers as one of two. */
export type Step =
  | { call: 'createPreference' | 'putPreference' | 'patchPreference'; user: number; switches: Switches }
  | { call: 'getPreference' | 'deletePreference' | 'getUser' | 'eraseUser'; user: number }
  | { call: 'listPreferences' | 'listUsers'; from: number; limit: number }
  | { call: 'putUser'; user: number; email: boolean; phone: boolean }
  | ({ call: 'notify'; key: number | null } & Caller & Message)
  | ({ call: 'preview' } & Message)
  | ({ call: (typeof OF_NOTIFICATION)[number]; notification: number } & Caller)
  | ({ call: 'listNotifications'; limit: number } & Caller);

/** Calls of one notification. */
const OF_NOTIFICATION = ['getNotification', 'cancel', 'retry', 'listMessages', 'listFailures'] as const;

export type Switches = { email_enabled?: boolean; sms_enabled?: boolean };
type Caller = { by: 0 | 1 };
/** `later`: sent so far in the future that it stays scheduled. */
export type Message = { users: number[]; channels: ('email' | 'sms')[] | null; text: number; later: boolean };

const STEPS_MAX = 16;

const user = fc.nat(USERS - 1);
const by = fc.constantFrom<(0 | 1)[]>(0, 1);
const switches = fc.record({ email_enabled: fc.boolean(), sms_enabled: fc.boolean() }, { requiredKeys: [] });
const limit = fc.integer({ min: 1, max: USERS });
const notification = fc.nat(3);
const message = {
  users: fc.array(user, { maxLength: USERS }),
  channels: fc.option(fc.subarray<'email' | 'sms'>(['email', 'sms'], { minLength: 1 })),
  text: fc.nat(1),
  later: fc.boolean(),
};

const step = fc.oneof(
  fc.record({
    call: fc.constantFrom<('createPreference' | 'putPreference' | 'patchPreference')[]>(
      ...(['createPreference', 'putPreference', 'patchPreference'] as const),
    ),
    ...{ user, switches },
  }),
  fc.record({
    call: fc.constantFrom<('getPreference' | 'deletePreference' | 'getUser' | 'eraseUser')[]>(
      ...(['getPreference', 'deletePreference', 'getUser', 'eraseUser'] as const),
    ),
    user,
  }),
  fc.record({
    call: fc.constantFrom<('listPreferences' | 'listUsers')[]>('listPreferences', 'listUsers'),
    ...{ from: user, limit },
  }),
  fc.record({ call: fc.constant('putUser' as const), user, email: fc.boolean(), phone: fc.boolean() }),
  fc.record({ call: fc.constant('notify' as const), by, key: fc.option(fc.nat(1)), ...message }),
  fc.record({ call: fc.constant('preview' as const), ...message }),
  fc.record({
    call: fc.constantFrom(...OF_NOTIFICATION),
    ...{ by, notification },
  }),
  fc.record({ call: fc.constant('listNotifications' as const), by, limit }),
);

/** Sequences of calls. */
export const sequence: fc.Arbitrary<Step[]> = fc.array(step, { minLength: 1, maxLength: STEPS_MAX, size: 'max' });
