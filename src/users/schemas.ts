import { z } from 'zod';
import type { CHANNELS, Channel } from '../channels.ts';
import { userIdParameter } from '../http/lists.ts';
import { userIdSchema } from '../user-id.ts';

type Contact = (typeof CHANNELS)[Channel]['contact'];

/** The longest address that SMTP can carry (RFC 5321, section 4.5.3.1.3). */
const EMAIL_CHARS_MAX = 254;

const EMAIL = 'Where e-mail goes; null when there is no address.';
const PHONE = 'Where SMS go, in E.164 form; null when there is no number.';
const email = z.email().max(EMAIL_CHARS_MAX).nullable().describe(EMAIL).meta({ example: 'ada@example.com' });
const phone = z.e164().nullable().describe(PHONE).meta({ example: '+15550000042' });
const contacts = { email, phone } satisfies Record<Contact, z.ZodType>;

/** A user as the external provider knows them. */
export const userSchema = z
  .object({
    user_id: userIdSchema,
    email: z.string().nullable().describe(EMAIL),
    phone: z.string().nullable().describe(PHONE),
  })
  .meta({ id: 'User', example: { user_id: 42, email: 'ada@example.com', phone: '+15550000042' } });

/** What to store of a user. An absent address is none; `user_id` may be repeated from the path. */
export const putUserSchema = z
  .strictObject({
    user_id: userIdSchema.optional(),
    email: contacts.email.default(null),
    phone: contacts.phone.default(null),
  })
  .meta({ id: 'PutUser', example: { email: 'ada@example.com', phone: '+15550000042' } });

/** A line of an import: a user with what to store of them. */
export const userLineSchema = putUserSchema
  .extend({ user_id: userIdSchema })
  .meta({ id: 'UserLine', example: { user_id: 42, email: 'ada@example.com', phone: '+15550000042' } });

export const userParams = z.object({ user_id: userIdParameter });
