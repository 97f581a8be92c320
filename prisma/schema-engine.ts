import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';
import {
  bindMigrationAwareSqlAdapterFactory,
  ColumnTypeEnum,
  type SqlDriverAdapter,
  type SqlQuery,
} from '@prisma/driver-adapter-utils';
import * as bindings from '@prisma/schema-engine-wasm/schema_engine_bg';
import { Pool, type QueryArrayResult, type QueryConfig } from 'pg';

/** A database that does not answer for this long is reported as unreachable. */
const CONNECT_TIMEOUT_MS = 10_000;

/** A connection that is silent for so long is asked for a sign of life. A migration itself may take as long as it needs. */
const KEEP_ALIVE_MS = 10_000;

/** Another process may be building an index over millions of rows; waiting for it beats failing a deployment. */
const LOCK_TIMEOUT_MS = 600_000;

/** The key Prisma's engines lock while they migrate. They wait 10 s for it, which is why it is taken here first. */
const MIGRATION_LOCK = 72707369;

/** PostgreSQL's one-byte type "char" and its `text`, as object ids. */
const CHAR_OID = 18;
const TEXT_OID = 25;

/**
 * Runs `work` with Prisma's schema engine, as WebAssembly, on a database. Only one process at a time gets past its start.
 * Rejects with the driver's error when the database is unreachable, and with the engine's otherwise.
 */
export async function withSchemaEngine<T>(
  databaseUrl: string,
  schema: { path: string; content: string },
  work: (engine: bindings.SchemaEngine) => Promise<T>,
): Promise<T> {
  // One connection that never idles out: the lock belongs to its session, and the engine's own request for it just counts up.
  const pool = new Pool({
    connectionString: databaseUrl,
    max: 1,
    idleTimeoutMillis: 0,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    ...{ keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_MS },
  });
  try {
    await pool.query(`set lock_timeout = ${LOCK_TIMEOUT_MS}; select pg_advisory_lock(${MIGRATION_LOCK})`);
    await pool.query('reset lock_timeout');
    const engine = await createEngine(pool, schema);
    try {
      return await work(engine);
    } finally {
      engine.free();
    }
  } finally {
    await pool.end();
  }
}

async function createEngine(pool: Pool, schema: { path: string; content: string }): Promise<bindings.SchemaEngine> {
  loadEngine();
  const factory = new PrismaPg(pool);
  const adapterFactory = bindMigrationAwareSqlAdapterFactory({
    provider: factory.provider,
    adapterName: factory.adapterName,
    connect: async () => adaptForEngine(pool, await factory.connect()),
    connectToShadowDb: () => Promise.reject(new Error('Scratch databases are made by the caller.')),
  });
  return bindings.SchemaEngine.new({ datamodels: [[schema.path, schema.content]] }, () => undefined, adapterFactory);
}

/** Node has it; its type declarations do not. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: Record<string, object>) => { exports: Record<string, unknown> };
};

let loaded = false;

/** The package's own entry imports the `.wasm` file as a module, which Node does behind a flag only. */
function loadEngine(): void {
  if (loaded) return;

  const folder = join(createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg'), '..');
  const module = new WebAssembly.Module(readFileSync(join(folder, 'schema_engine_bg.wasm')));
  const glue: Record<string, unknown> = { ...bindings };
  for (const name of Object.keys(glue).filter((key) => key.startsWith('__wbg_setTimeout_')))
    glue[name] = setWeakTimeout;
  const { exports } = new WebAssembly.Instance(module, { './schema_engine_bg.js': glue });
  // Where the engine looks for somebody to tell why it panicked.
  Object.assign(globalThis, { PRISMA_WASM_PANIC_REGISTRY: { set_message: console.error } });
  (glue['__wbg_set_wasm'] as (exports: unknown) => void)(exports);
  (exports['__wbindgen_start'] as () => void)();
  loaded = true;
}

/** The engine leaves the timer of its 10 s lock timeout behind, which must not keep a finished process waiting. */
function setWeakTimeout(callback: () => void, delayMs: number): NodeJS.Timeout {
  return setTimeout(callback, delayMs).unref();
}

/** Prisma's adapter, made fit for migrations in two points. */
function adaptForEngine(pool: Pool, adapter: SqlDriverAdapter): SqlDriverAdapter {
  const executeRaw = adapter.executeRaw.bind(adapter);
  return {
    provider: adapter.provider,
    adapterName: adapter.adapterName,
    queryRaw: readCharColumns(pool, adapter),
    executeRaw,
    // The adapter cuts scripts at every semicolon, even one in a comment or a string. Sent whole, a script also is one
    // transaction, as with Prisma's native engine.
    executeScript: async (sql) => {
      await executeRaw({ sql, args: [], argTypes: [] });
    },
    startTransaction: adapter.startTransaction.bind(adapter),
    getConnectionInfo: () => adapter.getConnectionInfo?.() ?? { supportsRelationJoins: true },
    dispose: adapter.dispose.bind(adapter),
  };
}

/**
 * The adapter's `queryRaw`, for results with columns of type "char" too. The adapter refuses them, but the engine reads some
 * from PostgreSQL's catalogue: they pass the adapter as text, and get their true type behind it.
 */
function readCharColumns(pool: Pool, adapter: SqlDriverAdapter): SqlDriverAdapter['queryRaw'] {
  const charColumns = new WeakMap<unknown[], Set<number>>();
  const query = pool.query.bind(pool) as (config: QueryConfig) => Promise<QueryArrayResult | QueryArrayResult[]>;

  Object.assign(pool, {
    query: async (config: QueryConfig) => {
      const result = await query(config);
      // A script of several statements gives several results, and nobody reads them.
      if (Array.isArray(result)) return result;

      const found = result.fields.flatMap((field, index) => (field.dataTypeID === CHAR_OID ? [index] : []));
      charColumns.set(result.rows, new Set(found));
      for (const field of result.fields) if (field.dataTypeID === CHAR_OID) field.dataTypeID = TEXT_OID;
      return result;
    },
  });

  return async (sql: SqlQuery) => {
    const result = await adapter.queryRaw(sql);
    const found = charColumns.get(result.rows);
    const columnTypes = result.columnTypes.map((type, i) => (found?.has(i) ? ColumnTypeEnum.Character : type));
    return { ...result, columnTypes };
  };
}
