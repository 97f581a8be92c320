import { randomUUID } from 'node:crypto';
import type { Channel } from '../../src/channels.ts';
import { type Config, configSchema, parseConfig } from '../../src/config.ts';
import { createDatabase, type Database } from '../../src/database.ts';
import { createLogger } from '../../src/log.ts';
import { start } from '../../src/start.ts';
import { createClients } from '../../src/topology/clients.ts';
import { provisionTopology } from '../../src/topology/provision.ts';
import { createTestDatabase } from './database.ts';

export type TestService = {
  url: string;
  db: Database;
  queueUrls: Record<Channel, string>;
  config: Config;
  /** Every log line so far, parsed. */
  logs: Record<string, unknown>[];
  /** Stops the service like `Service.stop`. */
  stop: (drainMs?: number) => Promise<void>;
};

/**
 * The service as it runs in production, on a topic of its own, and on a database of its own unless `overrides` names
 * one. The caller stops it.
 */
export async function startTestService(overrides: Record<string, string> = {}): Promise<TestService> {
  const databaseUrl = overrides['DATABASE_URL'] ?? (await createTestDatabase());
  const { topicArn, queueUrls } = await provisionTopology({ ...createClients(), name: `test-${randomUUID()}` });
  const config = parseConfig(configSchema, {
    ...{ DATABASE_URL: databaseUrl, SNS_TOPIC_ARN: topicArn, PORT: '0', LOG_LEVEL: 'trace', DATABASE_POOL_MAX: '5' },
    ...{ AUTH: 'off', RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_PRINCIPAL: '0', BROADCAST_MAX_PER_HOUR: '1000000' },
    ...overrides,
  });
  const logs: Record<string, unknown>[] = [];
  const log = createLogger(config, { write: (line: string) => void logs.push(JSON.parse(line)) });
  const service = await start(config, log);
  const db = createDatabase({ url: databaseUrl, poolMax: 2 });
  const stop = async (drainMs?: number) => {
    await service.stop(drainMs);
    await db.$disconnect();
  };
  return { url: service.url, db, queueUrls, config, logs, stop };
}

/** `body` is the parsed `text` when the reply is JSON, else the text; of a stream of events it is the first one. */
export type Reply = { status: number; headers: Headers; text: string; body: unknown };

/** Calls the API. An object is sent as JSON, a string or bytes as they are. */
export async function call(
  service: { url: string },
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const response = await fetch(`${service.url}${path}`, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: isRaw(body) ? body : JSON.stringify(body) }),
  });
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  const text = isStream ? await readFirstEvent(response) : await response.text();
  const json = text !== '' && /json/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, body: json ? JSON.parse(text) : text };
}

/** What comes until the first event is whole. Then it hangs up, as a stream may stay open for minutes. */
async function readFirstEvent({ body }: Response): Promise<string> {
  let text = '';
  for await (const chunk of body ?? []) {
    text += Buffer.from(chunk).toString();
    if (/^data: .*\n\n/m.test(text)) break;
  }
  return text;
}

function isRaw(body: unknown): body is string | Uint8Array<ArrayBuffer> {
  return typeof body === 'string' || body instanceof Uint8Array;
}
