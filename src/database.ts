import { createHash } from 'node:crypto';
import { PrismaPg } from '@prisma/adapter-pg';
import { Pool } from 'pg';
import { Prisma, PrismaClient } from './generated/client.ts';

/** The Prisma client: the only repository, and the only way to the database but for what imports store. */
export type Database = PrismaClient & { executeBulk: ExecuteBulk };

/** A client gives up on a connection that is not there by then; the API answers 503 within 5 s. */
const CONNECT_TIMEOUT_MS = 3_000;
/** No statement of this service needs longer, counting ten million remaining users of a canceled broadcast included. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** For a database that no longer answers at all: a little more than the server's own limit, so that the server speaks first. */
const QUERY_TIMEOUT_MS = 12_000;
/** Prepared statements kept per connection: far more than we have, but for batched reads, which vary in length and must not pile up. */
const NAMED_STATEMENTS_MAX = 200;

/** Opens one pool of at most `poolMax` connections to PostgreSQL, with the Prisma client on it. `$disconnect` ends both. */
export function createDatabase({ url, poolMax }: { url: string; poolMax: number }): Database {
  const pool = new Pool({
    connectionString: url,
    max: poolMax,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'notification-service',
  });
  // A connection that breaks while nobody uses it is replaced when somebody does. Prisma listens from its first query on only.
  pool.on('error', () => undefined);
  const adapter = new PrismaPg(pool, { disposeExternalPool: true, statementNameGenerator: nameStatements() });
  // Minimal: the other formats quote the arguments of a failed call, and those hold addresses.
  const client = new PrismaClient({ adapter, errorFormat: 'minimal' });
  return Object.assign(client, { executeBulk: createBulk(pool) });
}

/** Names each distinct statement, so that PostgreSQL parses it once per connection: 40–60 % more calls a second. */
function nameStatements(): (query: { sql: string }) => string {
  const names = new Map<string, string>();
  return ({ sql }) => {
    const known = names.get(sql);
    if (known !== undefined) return known;
    if (names.size >= NAMED_STATEMENTS_MAX) return '';
    const name = createHash('sha256').update(sql).digest('base64url').slice(0, 32);
    names.set(sql, name);
    return name;
  };
}

/**
 * Runs a statement on the same pool past Prisma, which copies parameters several times: with those of an import, a third of
 * the process's time and most of its garbage. Runs it anew, once, when it adds a row that somebody else has just added: then
 * it finds it. Throws what node-postgres throws.
 *
 * @param name - under which PostgreSQL keeps the prepared statement, of which there is one by that name.
 */
type ExecuteBulk = (name: string, statement: Prisma.Sql) => Promise<unknown>;

function createBulk(pool: Pool): ExecuteBulk {
  return async (name, { text, values }) => {
    const run = () => pool.query({ name, text, values });
    return run().catch((error: { code?: string }) => {
      if (error.code !== UNIQUE_VIOLATION) throw error;
      return run();
    });
  };
}

/** SQLSTATE of PostgreSQL. */
const UNIQUE_VIOLATION = '23505';

/** Prisma's codes for a database that cannot be reached, times out, or hung up. See Prisma's error reference. */
const UNAVAILABLE_CODES = /^(P10(0[0-38]|11|17)|P20(24|28|37))$/;
/** What the pg adapter makes of the same. A raw query that fails has no other code than P2010, whatever the reason. */
const UNAVAILABLE_KINDS =
  /^(DatabaseNotReachable|DatabaseDoesNotExist|DatabaseAccessDenied|AuthenticationFailed|TlsConnectionError|ConnectionClosed|SocketTimeout)$/;
/** PostgreSQL's own: shutting down, starting, too many connections, statement cancelled, connection failures. */
const UNAVAILABLE_SQLSTATES = /^(57P0[1-5]|57014|53\d{3}|08\w{3})$/;
/** What sockets and node-postgres say when the server is not there. */
const UNAVAILABLE_TEXTS =
  /ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|Connection terminated|timeout exceeded when trying to connect|Query read timeout|not queryable/;

/** Where Prisma keeps what PostgreSQL or the socket said. `severity` FATAL: PostgreSQL has closed the connection. */
type AdapterError = { kind?: string; originalCode?: string; severity?: string };

/** Whether the database failed to answer, as opposed to having refused the statement. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof Prisma.PrismaClientInitializationError) return true;
  const { code, meta } = error as { code?: string; meta?: { driverAdapterError?: { cause?: AdapterError } } };
  // What comes past Prisma is what the adapter would have for its cause.
  const { kind = '', originalCode = code ?? '', severity } = meta?.driverAdapterError?.cause ?? (error as AdapterError);
  return (
    severity === 'FATAL' ||
    UNAVAILABLE_CODES.test(code ?? '') ||
    UNAVAILABLE_KINDS.test(kind) ||
    UNAVAILABLE_SQLSTATES.test(originalCode) ||
    UNAVAILABLE_TEXTS.test(`${code} ${error.message} ${String(error.cause)}`)
  );
}
