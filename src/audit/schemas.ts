import { z } from 'zod';
import { limitParameter } from '../http/lists.ts';

/** A change, as the audit log keeps it: who and what, but nothing of the content. */
export const auditEntrySchema = z
  .object({
    id: z.uuid().describe('In the order of time (UUID version 7).'),
    at: z.date().describe('When the change was made.'),
    principal: z.string().describe('Who made it: `key:` and a name, `jwt:` and a subject, `anonymous`, or `operator`.'),
    action: z.string().describe('What was asked for.'),
    object: z.string().describe('What it was done to: its path in this API, without the slash in front.'),
    outcome: z.string().describe('What became of it.'),
    request_id: z.string().nullable().describe('The request it came by; null when it came by a command.'),
  })
  .meta({
    id: 'AuditEntry',
    example: {
      ...{ id: '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55', at: '2026-01-05T08:30:00.000Z', principal: 'key:billing' },
      ...{ action: 'preference.put', object: 'preferences/42', outcome: 'created' },
      request_id: '0193f0a2-5b1c-7f3e-8a7d-1c2b3a4d5e6f',
    },
  });

/** An object of the log, in printable ASCII; far longer than any there is. */
const OBJECT = /^[!-~]{1,200}$/;

export const auditListQuery = z.strictObject({
  object: z
    .string()
    .regex(OBJECT, 'must be 1 to 200 printable ASCII characters')
    .optional()
    .meta({ description: 'Only what was done to this.', example: 'preferences/42' }),
  limit: limitParameter,
  cursor: z.uuid().optional().describe('Where the previous page ended; taken from its `Link` header.'),
});
