import { parseArgs } from 'node:util';
import { z } from 'zod';
import { SCOPE_NAMES } from './principal.ts';

/** How long callers have to change over to their new key, unless it is said. */
const OVERLAP_PRESET = '24h';
const UNIT_SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 };
/** An amount of more digits is a mistake: 99999 days are 273 years. */
const DURATION = /^(\d{1,5})([smhd])$/;
/** With `key:` before it, the id of a principal, which has at most 128 printable ASCII characters. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;
/** What its column holds. */
const RECIPIENTS_MAX = 2_147_483_647;

export const KEY_USAGE = `Usage: npm run -s api-key -- <command>

  create --name <name> --scope <scope> [--scope <scope>…] [--expires-in <duration>] [--daily-recipients <number>]
          makes a caller known and prints its key
  list    shows every key without its secret
  rotate --name <name> [--overlap <duration>] [--expires-in <duration>] [--scope <scope>…]
         [--daily-recipients <number>|none] [--revive]
          prints another key for a caller, of the same scopes and allowance unless they are said (none: as the service
          is configured); its other keys end after the overlap (${OVERLAP_PRESET} unless it is said); --revive also
          gives one to a caller whose keys are all revoked or expired
  revoke --name <name> | --id <id>
          ends all keys of a caller, or one key, for good

A scope is one of ${SCOPE_NAMES.join(', ')}.
A duration is a whole number with s, m, h or d, like 90d.
A key goes to stdout alone; without -s, npm prints lines of its own there.`;

/** In seconds. */
const duration = z
  .string()
  .regex(DURATION, 'must be a whole number with s, m, h or d, like 90d')
  .transform((text) => {
    const [, amount, unit] = DURATION.exec(text) ?? [];
    return Number(amount) * UNIT_SECONDS[unit as keyof typeof UNIT_SECONDS];
  });
const lifetime = duration.pipe(z.number().min(1, 'must be longer than nothing')).optional();
const name = z
  .string('is required')
  .regex(NAME, 'must be 1 to 63 of a-z, 0-9, dot, underscore and hyphen, and begin with a letter or a digit');
const scopes = z
  .array(z.enum(SCOPE_NAMES, `must be one of ${SCOPE_NAMES.join(', ')}`), 'is required, once for each scope')
  .transform((given) => [...new Set(given)]);
const recipientsNumber = z.number().max(RECIPIENTS_MAX, `must be at most ${RECIPIENTS_MAX}`);
const recipients = z
  .string()
  .regex(/^\d{1,15}$/, 'must be a whole number')
  .transform(Number)
  .pipe(recipientsNumber)
  .optional();
/** Null: what the service's configuration says. */
const newRecipients = z
  .string()
  .regex(/^(none|\d{1,15})$/, 'must be a whole number or none')
  .transform((text) => (text === 'none' ? null : Number(text)))
  .pipe(recipientsNumber.nullable())
  .optional();

/** What each command takes; anything else is refused. */
const commandSchema = z.discriminatedUnion(
  'command',
  [
    z.strictObject({
      ...{ command: z.literal('create'), name, scope: scopes },
      ...{ 'expires-in': lifetime, 'daily-recipients': recipients },
    }),
    z.strictObject({ command: z.literal('list') }),
    z.strictObject({
      ...{ command: z.literal('rotate'), name, scope: scopes.optional(), revive: z.boolean().optional() },
      ...{ overlap: duration.prefault(OVERLAP_PRESET), 'expires-in': lifetime, 'daily-recipients': newRecipients },
    }),
    z
      .strictObject({ command: z.literal('revoke'), name: name.optional(), id: z.string().optional() })
      .refine((given) => (given.name === undefined) !== (given.id === undefined), 'revoke needs either --name or --id'),
  ],
  'The command must be one of create, list, rotate, revoke',
);

export type KeyCommand = z.infer<typeof commandSchema>;

/** The command line is not understood; `message` names every wrong argument, one per line. */
export class KeyUsageError extends Error {}

/** @throws KeyUsageError */
export function parseKeyCommand(args: string[]): KeyCommand {
  const { command, extra, values } = splitArguments(args);
  const { data, error } = commandSchema.safeParse({ ...values, command });
  const wrong = [
    ...extra.map((argument) => `${argument} is one argument too many`),
    ...(error?.issues ?? []).flatMap((issue) => describeIssue(issue, command)),
  ];
  if (data === undefined || wrong.length > 0) throw new KeyUsageError(wrong.join('\n'));
  return data;
}

function splitArguments(args: string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const options = {
    ...{ name: text, scope: { ...text, multiple: true }, id: text },
    ...{ 'expires-in': text, 'daily-recipients': text, overlap: text, revive: flag },
  } as const;
  try {
    const { positionals, values } = parseArgs({ args, options, allowPositionals: true });
    const [command, ...extra] = positionals;
    return { command, extra, values };
  } catch (error) {
    // What follows its first sentence is about arguments that begin with a dash.
    const [problem] = (error as Error).message.split(/\.\s/);
    throw new KeyUsageError(problem);
  }
}

function describeIssue(issue: z.core.$ZodIssue, command = ''): string[] {
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => `--${key} is not for ${command}`);
  const [option = 'command'] = issue.path;
  return [option === 'command' ? issue.message : `--${String(option)} ${issue.message}`];
}
