import pino, { type DestinationStream, type Logger } from 'pino';
import type { Config } from './config.ts';

/** Logs JSON, one object a line, to `destination` or stdout; for people when stdout is a terminal. */
export function createLogger({ LOG_LEVEL }: Pick<Config, 'LOG_LEVEL'>, destination?: DestinationStream): Logger {
  const options = { level: LOG_LEVEL, serializers: { err: withoutData } };
  if (destination !== undefined) return pino(options, destination);
  return process.stdout.isTTY
    ? pino({ ...options, transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname' } } })
    : pino(options);
}

/** An error as it may be logged: PostgreSQL's `detail`, deep in the fields of Prisma's errors, quotes the row refused. */
function withoutData(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, code, message, stack } = error as NodeJS.ErrnoException;
  return { type: name, code, message, stack };
}
