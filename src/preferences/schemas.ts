import { z } from 'zod';
import type { CHANNELS, Channel } from '../channels.ts';
import { userIdParameter } from '../http/lists.ts';
import { userIdSchema } from '../user-id.ts';

type Switch = (typeof CHANNELS)[Channel]['preference'];

const switches = {
  email_enabled: z.boolean().describe('Tell this user by e-mail.'),
  sms_enabled: z.boolean().describe('Tell this user by SMS.'),
} satisfies Record<Switch, z.ZodType>;

const example = { user_id: 42, email_enabled: true, sms_enabled: false };

/** How a user wants to hear. */
export const preferenceSchema = z.object({ user_id: userIdSchema, ...switches }).meta({ id: 'Preference', example });

/** New preferences. An absent channel is off. */
export const createPreferenceSchema = z
  .strictObject({
    user_id: userIdSchema,
    email_enabled: switches.email_enabled.default(false),
    sms_enabled: switches.sms_enabled.default(false),
  } satisfies { user_id: z.ZodType } & Record<Switch, z.ZodType>)
  .meta({ id: 'CreatePreference', example });

/** Preferences to store whether or not there are any. An absent channel is off; `user_id` may be repeated from the path. */
export const putPreferenceSchema = createPreferenceSchema
  .extend({ user_id: userIdSchema.optional() })
  .meta({ id: 'PutPreference', example: { email_enabled: true, sms_enabled: false } });

/** A change. An absent channel stays as it is. */
export const patchPreferenceSchema = z
  .strictObject({
    email_enabled: z.exactOptional(switches.email_enabled),
    sms_enabled: z.exactOptional(switches.sms_enabled),
  } satisfies Record<Switch, z.ZodType>)
  .meta({ id: 'PatchPreference', example: { sms_enabled: true } });

export const preferenceParams = z.object({ user_id: userIdParameter });
