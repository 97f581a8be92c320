import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createTestDatabase } from '../support/database.ts';
import { type Kind, NDJSON } from '../support/imports.ts';
import { killProcesses, startProcess } from '../support/process.ts';

const LINES = 1_000_000;
const ROUNDS = 5;
const GROWTH_MB_MAX = 50;
const RATIO_MIN = 0.5;
const WATCH_INTERVAL_MS = 50;
const CHUNK_CHARS = 64 * 1024;

/** The same user as a line of an import and as a row of a COPY. */
const TABLES: Record<Kind, { columns: string; line: (id: number) => string; row: (id: number) => string }> = {
  users: {
    columns: 'user_id, email, phone',
    line: (id) => `{"user_id":${id},"email":"user${id}@example.com","phone":"+1555${phone(id)}"}\n`,
    row: (id) => `${id}\tuser${id}@example.com\t+1555${phone(id)}\n`,
  },
  preferences: {
    columns: 'user_id, email_enabled, sms_enabled',
    line: (id) => `{"user_id":${id},"email_enabled":${id % 2 === 0},"sms_enabled":${id % 3 === 0}}\n`,
    row: (id) => `${id}\t${id % 2 === 0}\t${id % 3 === 0}\n`,
  },
};

const phone = (id: number) => String(id).padStart(7, '0');

let database: Client;
let service: { url: string; pid: number };

beforeAll(async () => {
  const DATABASE_URL = await createTestDatabase();
  database = new Client({ connectionString: DATABASE_URL });
  await database.connect();
  const running = startProcess('server.js', {
    cwd: tmpdir(),
    env: {
      ...{
        DATABASE_URL,
        PORT: '0',
        AUTH: 'off',
        ROLE: 'api',
        SNS_TOPIC_ARN: 'arn:aws:sns:us-east-1:000000000000:none',
      },
      ...{ AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
      AWS_ENDPOINT_URL: inject('emulatorUrl'),
    },
  });
  const [, url = ''] = await running.print(/"url":"([^"]+)"/);
  service = { url, pid: running.pid };
});

afterAll(async () => {
  await killProcesses();
  await database.end();
});

/** Made before the clock runs, so that neither side waits for it. */
function makeChunks(write: (id: number) => string, count: number): Buffer[] {
  const chunks: Buffer[] = [];
  let text = '';
  for (let id = 1; id <= count; id++) {
    text += write(id);
    if (text.length < CHUNK_CHARS && id < count) continue;
    chunks.push(Buffer.from(text));
    text = '';
  }
  return chunks;
}

async function importChunks(kind: Kind, chunks: Buffer[]): Promise<unknown> {
  const sending = request(`${service.url}/${kind}/import`, { method: 'POST', headers: NDJSON });
  const answered = once(sending, 'response');
  await pipeline(Readable.from(chunks), sending);
  const [response] = await answered;
  let text = '';
  for await (const chunk of response) text += chunk;
  return JSON.parse(text);
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function countRows(kind: Kind): Promise<number> {
  const { rows } = await database.query<{ count: string }>(`select count(*) from ${kind}`);
  return Number(rows[0]?.count);
}

/** The resident memory of the service, in MB. */
function readMemory(): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${service.pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}

/** By how much memory grows at most while something is done, in MB. */
async function measureGrowth(work: () => Promise<unknown>): Promise<number> {
  const baseline = readMemory();
  let peak = baseline;
  const watch = setInterval(() => {
    peak = Math.max(peak, readMemory());
  }, WATCH_INTERVAL_MS);
  await work();
  clearInterval(watch);
  return Math.round(peak - baseline);
}

describe.each(['users', 'preferences'] as const)('an import of 1,000,000 %s', (kind) => {
  const { columns, line, row } = TABLES[kind];
  const lines = makeChunks(line, LINES);

  const importAll = async () => {
    await database.query(`truncate ${kind}`);
    const ms = await time(async () => {
      const result = await importChunks(kind, lines);
      expect(result).toEqual({ lines: LINES, stored: LINES, rejected: 0, rejections: [] });
    });
    expect(await countRows(kind)).toBe(LINES);
    return ms;
  };

  it('takes little memory, the first time and again', async () => {
    const before = Math.round(readMemory());
    const growths = [await measureGrowth(importAll), await measureGrowth(importAll)];

    console.info(`${kind}: ${before} MB, ${growths.join(' and then ')} MB more during an import`);
    expect(Math.max(...growths)).toBeLessThan(GROWTH_MB_MAX);
  });

  it('takes at most twice the time of COPY', async () => {
    const rows = makeChunks(row, LINES);
    const copies: number[] = [];
    const imports: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await database.query(`truncate ${kind}`);
      const stream = () => database.query(copyFrom(`copy ${kind} (${columns}) from stdin`));
      copies.push(await time(() => pipeline(Readable.from(rows), stream())));
      expect(await countRows(kind)).toBe(LINES);
      imports.push(await importAll());
    }

    // The best of each, as whatever else the machine does only adds to a time.
    const ratio = Math.min(...copies) / Math.min(...imports);
    const show = (times: number[]) => times.map(Math.round).join(', ');
    console.info(`${kind}: COPY ${show(copies)} ms, import ${show(imports)} ms: ${ratio.toFixed(2)} of its speed`);
    expect(ratio).toBeGreaterThanOrEqual(RATIO_MIN);
  });
});
