import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, onTestFinished } from 'vitest';
import { openAviary } from './canaries.ts';
import type { Call } from './canary-calls.ts';
import { createTestDatabase } from './database.ts';
import { TOPIC_ARN } from './dispatch.ts';
import { killProcesses, type RunningProcess, startProcess } from './process.ts';
import { call, type Reply } from './service.ts';
import type { Sink } from './sink.ts';

export type Server = RunningProcess & { url: string };

/** What a run of a program has left. */
export type Run = { code: number | string | null | undefined; stdout: string; stderr: string };

/** The canaries of a test file. */
export const aviary = openAviary();

let hits = 0;
let requests = 0;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'canaries-'));
});

afterAll(async () => {
  await killProcesses();
  await rm(folder, { recursive: true });
  const total = Object.values(aviary.sent()).reduce((sum, count) => sum + count, 0);
  console.log(
    `canaries: ${total} sent in ${requests} requests, ${aviary.searched()} characters searched, ${hits} hits`,
  );
});

/** Every finding is one too many. */
export function expectSilence(where: string, text: string): void {
  const found = aviary.find(text);
  hits += found.length;
  expect({ where, hits: found.length, first: found.slice(0, 5) }).toEqual({ where, hits: 0, first: [] });
}

/** The reply to a call that was refused may hold no more than the names of the caller's own fields. */
function expectDiscreetReply(sent: Call, { status, text, headers }: Reply): void {
  const found = [
    ...aviary.findInProblem(text, `${sent.path} ${typeof sent.body === 'string' ? sent.body : ''}`),
    ...aviary.find([...headers].join('\n')),
  ];
  hits += found.length;
  const what = `${sent.method} ${sent.path} ${status}`;
  expect({ what, hits: found.length, first: found.slice(0, 5) }).toEqual({ what, hits: 0, first: [] });
}

/** Sends a call, counts its canaries, and looks through the reply where it is a refusal. */
export async function send(service: { url: string }, sent: Call): Promise<Reply> {
  const { method, path, headers, body } = sent;
  requests += 1;
  const text = typeof body === 'string' ? body : Buffer.from(body ?? []).toString('latin1');
  aviary.note(`${path} ${Object.entries(headers).join(' ')} ${text}`);
  const reply = await call(service, method, path, body, headers);
  if (reply.status >= 400) expectDiscreetReply(sent, reply);
  return reply;
}

/** The process as it runs in production, logging all it can. */
export async function startServer(env: Record<string, string>): Promise<Server> {
  const server = startProcess('server.js', {
    cwd: folder,
    env: {
      ...{ AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local', AUTH: 'off' },
      ...{ SNS_TOPIC_ARN: TOPIC_ARN, PORT: '0', LOG_LEVEL: 'trace', LEASE_SECONDS: '2', ...env },
    },
  });
  const [, url = ''] = await server.print(/"url":"(http[^"]+)"/);
  return { ...server, url };
}

/** Stops a process and looks through everything that it has written. */
export async function stopAndSearch(what: string, server: RunningProcess): Promise<void> {
  server.kill('SIGINT');
  await server.exited;
  expectSilence(`stdout of ${what}`, server.output.stdout);
  expectSilence(`stderr of ${what}`, server.output.stderr);
}

/** Where a sink listens. */
export async function findUrl(sink: Sink): Promise<string> {
  const endpoint = await sink.connect().config.endpoint?.();
  return `http://${endpoint?.hostname}:${endpoint?.port}`;
}

/** A database, and a superuser in it for the length of the test. */
export async function openDatabase(): Promise<{ url: string; admin: Client }> {
  const url = await createTestDatabase();
  const admin = new Client({ connectionString: url });
  await admin.connect();
  onTestFinished(() => admin.end());
  return { url, admin };
}

/** Writes to a connection of its own and, unless it is to be left open, ends it. Returns what is answered until it is closed. */
export async function sendRaw({ url }: Server, text: string, ends = true): Promise<string> {
  requests += 1;
  aviary.note(text);
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: !ends });
  let answer = '';
  socket.setEncoding('utf8').on('data', (data: string) => (answer += data));
  // Whoever is cut off in the middle of writing is told so.
  socket.on('error', () => undefined).on('end', () => socket.end());
  socket.write(text);
  if (ends) socket.end();
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

/** Runs a program of Node to its end. */
export function runProgram(program: string, args: string[], env: Record<string, string> = {}): Promise<Run> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, ...args],
      { cwd: folder, env: { HOME: folder, ...env } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : error.code, stdout, stderr }),
    );
  });
}
