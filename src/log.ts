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

/**
 * An error as it may be logged, without what it quotes: PostgreSQL's `detail`, deep in the fields of Prisma's errors, has
 * the row refused, and its message may have a value.
 */
function withoutData(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name: type, code, message, stack } = error as NodeJS.ErrnoException;
  const sqlState = findSqlState(error);
  if (!QUOTING_SQLSTATES.test(sqlState)) return { type, code, message, stack };
  const withheld = `PostgreSQL refused a value (SQLSTATE ${sqlState}), which its message may quote.`;
  const frames = stack?.startsWith(`${type}: ${message}`) ? stack.slice(`${type}: ${message}`.length) : '';
  return { type, code, message: withheld, stack: `${type}: ${withheld}${frames}` };
}

/** Data exceptions, and what a trigger raises (PostgreSQL, appendix A). The messages of all others have names only. */
const QUOTING_SQLSTATES = /^(22|P0)/;

/** Where Prisma keeps what PostgreSQL said; '' for any other error. */
function findSqlState(error: Error): string {
  const { meta } = error as { meta?: { driverAdapterError?: { cause?: { originalCode?: string } } } };
  return meta?.driverAdapterError?.cause?.originalCode ?? '';
}
