import { createHash } from 'node:crypto';
import { PrismaPg } from '@prisma/adapter-pg';
import { Pool } from 'pg';
import { Prisma, PrismaClient } from './generated/client.ts';

/** The Prisma client, the repository, on one pool, by which go the statements that carry the load: see `queryPool`. */
export type Database = PrismaClient & { pool: Pool; nameStatement: NameStatement };

type NameStatement = (text: string) => string;

/** A client gives up on a connection that is not there, or not free, by then; the API answers 503 within 5 s. */
const CONNECT_TIMEOUT_MS = 3_000;
/**
 * No statement of this service needs longer, waits for locks included: counting ten million remaining users of a canceled
 * broadcast takes about a second.
 */
const STATEMENT_TIMEOUT_MS = 4_300;
/**
 * For a database that no longer answers at all: a little more than the server's own limit, so that the server speaks first,
 * and less than the 5 s in which callers are promised an answer. The connection is closed, and never used again. With the
 * wait for a connection every query has ended within 10 s.
 */
const QUERY_TIMEOUT_MS = 4_600;
/** A transaction whose client has vanished in the middle of it holds locks for no longer. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000;
/**
 * A connection that is silent for so long is asked for a sign of life; another 10 s without one, and it is closed. The
 * system's own default is two hours.
 */
const KEEP_ALIVE_MS = 10_000;
/** Unused connections are closed after this, so that those that have died unnoticed are soon gone. */
const IDLE_TIMEOUT_MS = 10_000;
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
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
    ...{ keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_MS },
    application_name: 'notification-service',
  });
  // A connection that breaks while nobody uses it is replaced when somebody does. Prisma listens from its first query on only.
  pool.on('error', () => undefined);
  const nameStatement = nameStatements();
  const statementNameGenerator = ({ sql }: { sql: string }) => nameStatement(sql);
  const adapter = new PrismaPg(pool, { disposeExternalPool: true, statementNameGenerator });
  // Minimal: the other formats quote the arguments of a failed call, and those hold addresses.
  return Object.assign(new PrismaClient({ adapter, errorFormat: 'minimal' }), { pool, nameStatement });
}

/** Names each distinct statement, so that PostgreSQL parses it once per connection: 40–60 % more calls a second. */
function nameStatements(): NameStatement {
  const names = new Map<string, string>();
  return (text) => {
    const known = names.get(text);
    if (known !== undefined) return known;
    if (names.size >= NAMED_STATEMENTS_MAX) return '';
    const name = createHash('sha256').update(text).digest('base64url').slice(0, 32);
    names.set(text, name);
    return name;
  };
}

/** The connections of a pool: how many there are, may be, are in use, and how many statements wait for one. */
export type PoolUse = { max: number; open: number; in_use: number; waiting: number };

/** How the pool of a client is used at this moment. */
export function readPoolUse({ pool }: Database): PoolUse {
  const { options, totalCount: open, idleCount, waitingCount: waiting } = pool;
  return { max: options.max, open, in_use: open - idleCount, waiting };
}

/**
 * Runs a statement past Prisma, which copies parameters and rows several times: a third of the time of an import and most of
 * its garbage, half of what a page costs. Its rows are as node-postgres reads them, and so are its errors.
 */
export async function queryPool(
  { pool, nameStatement }: Database,
  { text, values }: Prisma.Sql,
): Promise<{ rows: unknown[]; rowCount: number | null }> {
  return pool.query({ name: nameStatement(text), text, values });
}

/** The same for one that adds rows: anew, once, when somebody else has just added one of them. Then it finds it. */
export async function insertPool(db: Database, statement: Prisma.Sql): Promise<void> {
  try {
    await queryPool(db, statement);
  } catch (error) {
    if ((error as { code?: string }).code !== UNIQUE_VIOLATION) throw error;
    await queryPool(db, statement);
  }
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
