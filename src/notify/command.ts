import { parseArgs } from 'node:util';
import { z } from 'zod';
import { CHANNEL_NAMES } from '../channels.ts';
import type { createNotificationSchema } from '../notifications/input-schema.ts';
import { USER_ID_MAX } from '../user-id.ts';

/** Where the local mode and a service that is started by hand listen. */
const PRESET_URL = 'http://127.0.0.1:8000';

export const NOTIFY_USAGE = `Usage: npm run -s notify -- --payload <text> (--user-ids <id>[,<id>…] | --everyone) [options]

  --payload <text>        what to tell
  --user-ids <id>[,…]     whom: these users
  --everyone              whom: every user; shows how many would be told, and asks before anything is sent
  --yes                   does not ask; needed with --everyone where there is no terminal
  --subject <text>        for channels that have one, like e-mail
  --channel <name>        only on this channel, one of ${CHANNEL_NAMES.join(', ')}; may be given several times
  --url <url>             the service, ${PRESET_URL} unless it is said

The variable API_KEY holds the key to call with, where the service wants one. Ctrl-C stops watching, not the notification.
Ends with 0 when it is completed and nobody failed, 1 when it is not, 2 for wrong usage, 130 after Ctrl-C.`;

const OPTIONS = {
  payload: { type: 'string' },
  'user-ids': { type: 'string', multiple: true },
  everyone: { type: 'boolean' },
  yes: { type: 'boolean' },
  subject: { type: 'string' },
  channel: { type: 'string', multiple: true },
  url: { type: 'string' },
  help: { type: 'boolean' },
} as const;

const userIds = z
  .string()
  .regex(/^\d{1,10}(,\d{1,10})*$/, 'must be whole numbers, separated by commas')
  .transform((text) => text.split(',').map(Number))
  .pipe(z.array(z.int().min(1, 'must be from 1 on').max(USER_ID_MAX, `must be at most ${USER_ID_MAX}`)));

const optionsSchema = z.object({
  payload: z.string('is required').min(1, 'must not be empty'),
  'user-ids': z.array(userIds).optional(),
  everyone: z.boolean().default(false),
  yes: z.boolean().default(false),
  subject: z.string().min(1, 'must not be empty').optional(),
  channel: z.array(z.enum(CHANNEL_NAMES, `must be one of ${CHANNEL_NAMES.join(', ')}`)).optional(),
  url: z
    .string()
    .refine(isServiceUrl, 'must be an http or https URL, without credentials, query and fragment')
    .transform((url) => url.replace(/\/+$/, ''))
    .default(PRESET_URL),
});

/** The body of `POST /notifications`. */
export type NotifyInput = z.input<typeof createNotificationSchema>;

export type NotifyCommand = {
  input: NotifyInput;
  /** Without a slash at its end. */
  url: string;
  everyone: boolean;
  /** Whether it is sent without a question. */
  yes: boolean;
};

/** The command line is not understood; `message` names every wrong argument, one per line. */
export class NotifyUsageError extends Error {}

/**
 * Reads the command line; null when it asks for help.
 *
 * @throws NotifyUsageError
 */
export function parseNotifyCommand(args: string[]): NotifyCommand | null {
  const { values, wrong } = readOptions(args);
  if (values['help'] === true && wrong.size === 0) return null;
  const { data, error } = optionsSchema.safeParse(values);
  for (const { path, message } of error?.issues ?? []) {
    // What has a wrong value is not missing, too.
    const option = `--${String(path[0])}`;
    if (!wrong.has(option)) wrong.set(option, `${option} ${message}`);
  }
  const isForUsers = 'user-ids' in values || wrong.has('--user-ids');
  if (isForUsers === 'everyone' in values) wrong.set('audience', 'Either --user-ids or --everyone is needed, not both');
  if (data === undefined || wrong.size > 0) throw new NotifyUsageError([...wrong.values()].join('\n'));
  const { payload, subject, channel: channels, 'user-ids': ids, ...rest } = data;
  const optional = { ...(subject && { subject }), ...(channels && { channels }), ...(ids && { user_ids: ids.flat() }) };
  return { input: { payload, ...optional }, ...rest };
}

/** The options that can be read, and what is wrong with each argument that cannot: strict, `parseArgs` would name one only. */
function readOptions(args: string[]): { values: Record<string, unknown>; wrong: Map<string, string> } {
  const { values, tokens } = splitArguments(args);
  const faults = tokens.flatMap((token, index) => {
    const fault = findFault(token) ?? findRepetition(token, tokens.slice(0, index));
    return fault === null ? [] : [{ token, fault }];
  });
  const unread = new Set(faults.map(({ token }) => (token.kind === 'option' ? token.name : undefined)));
  return {
    values: Object.fromEntries(Object.entries(values).filter(([name]) => !unread.has(name))),
    wrong: new Map(faults.map(({ token, fault }) => [nameArgument(token), fault])),
  };
}

function splitArguments(args: string[]) {
  return parseArgs({ args, options: OPTIONS, strict: false, allowPositionals: true, tokens: true });
}

type Token = ReturnType<typeof splitArguments>['tokens'][number];

function nameArgument(token: Token): string {
  return token.kind === 'option' ? token.rawName : `argument ${token.index}`;
}

function findFault(token: Token): string | null {
  if (token.kind === 'option-terminator') return null;
  if (token.kind === 'positional') return `${token.value} is one argument too many`;
  const { name, rawName, value, inlineValue } = token;
  if (!rawName.startsWith('--') || !Object.hasOwn(OPTIONS, name)) return `${rawName} is not known`;
  const { type } = OPTIONS[name as keyof typeof OPTIONS];
  if (type === 'boolean') return value === undefined ? null : `${rawName} takes no value`;
  if (value === undefined) return `${rawName} needs a value`;
  const isMistaken = !inlineValue && value.startsWith('-');
  return isMistaken ? `${rawName} needs a value; one that begins with a dash is given as ${rawName}=${value}` : null;
}

/** The last would win, and the first be forgotten. */
function findRepetition(token: Token, earlier: Token[]): string | null {
  if (token.kind !== 'option' || Object.hasOwn(OPTIONS[token.name as keyof typeof OPTIONS], 'multiple')) return null;
  const isRepeated = earlier.some((other) => other.kind === 'option' && other.name === token.name);
  return isRepeated ? `${token.rawName} is given more than once` : null;
}

function isServiceUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && username + password + search + hash === '';
}
