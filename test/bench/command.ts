import { parseArgs } from 'node:util';

/** What the goals are about. */
const USERS = 1_000_000;
const SHORT_USERS = 20_000;
/** Fewer do not fill the runs, and their phone numbers have seven digits. */
const [USERS_MIN, USERS_MAX] = [1_000, 9_999_999];

export type BenchCommand = { names: string[]; users: number; isShort: boolean; isJson: boolean };

/** The command line is not understood; `message` says what is wrong. */
export class BenchUsageError extends Error {}

export const describeUsage = (names: string[]) => `Usage: npm run bench [-- [name …] [--users <n>] [--json] [--short]]

  name …        only these: ${names.join(', ')}
  --users <n>   the largest audience, ${USERS} unless it is said
  --json        one object a line instead of a table
  --short       few, short runs with ${SHORT_USERS} users: wrong counts fail, missed times do not

Ends with 0 when every goal is met, 1 when one is not, 2 for wrong usage.`;

const OPTIONS = {
  users: { type: 'string' },
  json: { type: 'boolean' },
  short: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

/**
 * Reads the command line; null when it asks for help. No names mean all that are `known`.
 *
 * @throws BenchUsageError
 */
export function parseBenchCommand(args: string[], known: string[]): BenchCommand | null {
  const { values, positionals } = readArguments(args);
  if (values.help) return null;
  const unknown = positionals.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new BenchUsageError(`There is no benchmark ${unknown.join(', ')}.`);
  const isShort = values.short === true;
  const users = values.users === undefined ? (isShort ? SHORT_USERS : USERS) : Number(values.users);
  if (!Number.isInteger(users) || users < USERS_MIN || users > USERS_MAX) {
    throw new BenchUsageError(`--users must be a whole number from ${USERS_MIN} to ${USERS_MAX}.`);
  }
  const names = positionals.length === 0 ? known : known.filter((name) => positionals.includes(name));
  return { names, users, isShort, isJson: values.json === true };
}

function readArguments(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new BenchUsageError((error as Error).message);
  }
}
