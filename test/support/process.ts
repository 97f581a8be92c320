import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export type RunningProcess = {
  /** Also the id of its process group. */
  pid: number;
  /** Returns false when it has ended already. */
  kill: (signal: NodeJS.Signals) => boolean;
  /** Types on its terminal; `\u0003` is Ctrl-C. */
  type: (text: string) => void;
  /** Everything written so far. */
  output: { stdout: string; stderr: string };
  /** Waits until stdout matches, and returns the match. Rejects when the process ends first or after `WAIT_TIMEOUT_MS`. */
  print: (pattern: RegExp) => Promise<RegExpExecArray>;
  /** Resolves when the process itself has ended. What it has started may still run, and write to its output. */
  gone: Promise<unknown>;
  /** Resolves when the process has ended and its output is complete. */
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
};

/** Two cores, several test files at once, and a first start of PostgreSQL. */
const WAIT_TIMEOUT_MS = 25_000;
const CHECK_INTERVAL_MS = 20;

const running = new Set<ChildProcess>();

type Start = {
  env: Record<string, string>;
  cwd: string;
  args?: string[];
  /** Given, it runs on a terminal so wide: that of `script`, of util-linux. What it writes is all stdout then. */
  columns?: number;
};

/** Starts a built program, like `local.js`, as the leader of its own process group, with no variables but those given. */
export function startProcess(program: string, { env, cwd, args = [], columns }: Start): RunningProcess {
  const command = [process.execPath, join(import.meta.dirname, '../../dist/src', program), ...args];
  const [file = '', ...rest] = columns === undefined ? command : onTerminal(command, columns);
  const child = spawn(file, rest, {
    ...{ cwd, detached: true, stdio: [columns === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] },
    env: { PATH: process.env['PATH'], HOME: cwd, ...env },
  });
  running.add(child);
  const output = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  let ended = false;
  const gone = once(child, 'exit');
  const exited = once(child, 'close').then(([code, signal]) => {
    ended = true;
    running.delete(child);
    return { code, signal };
  });
  const print = async (pattern: RegExp) => {
    const what = `${program} to print ${pattern}`;
    await waitFor(what, () => ended || pattern.test(output.stdout)).catch((error: Error) => error);
    const match = pattern.exec(output.stdout);
    if (match !== null) return match;
    throw new Error(`Waited for ${what}; it ${ended ? 'ended' : 'runs'}.\n${output.stdout}\n${output.stderr}`);
  };
  const kill = (signal: NodeJS.Signals) => child.kill(signal);
  const type = (text: string) => void child.stdin?.write(text);
  return { pid: child.pid ?? Number.NaN, kill, type, output, print, gone, exited };
}

/** A command that runs another on a terminal, and ends as it ends. */
function onTerminal(command: string[], columns: number): string[] {
  const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  return ['script', '-qefc', `stty cols ${columns}; exec ${quoted.join(' ')}`, '/dev/null'];
}

/** Kills what a test has left running. PostgreSQL under a local mode notices and stops by itself. */
export async function killProcesses(): Promise<void> {
  const children = [...running];
  for (const child of children) child.kill('SIGKILL');
  for (const child of children) if ((child.exitCode ?? child.signalCode) === null) await once(child, 'exit');
}

/** Waits until a condition holds. Rejects after `WAIT_TIMEOUT_MS`, saying what was waited for. */
export async function waitFor(what: string, condition: () => unknown): Promise<void> {
  const deadline = Date.now() + WAIT_TIMEOUT_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Waited ${WAIT_TIMEOUT_MS} ms for ${what}.`);
    await sleep(CHECK_INTERVAL_MS);
  }
}

/**
 * Sends the head of a `POST /notifications` and waits until the service is about to read its body, which only `finish` sends.
 * `finish` resolves to all that is answered before the connection closes.
 */
export async function openRequest(
  url: string,
  body: string,
): Promise<{ finish: () => Promise<string>; drop: () => void }> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let answer = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    answer += text;
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  // A process that is killed resets its connections.
  socket.on('error', () => undefined);
  socket.write('POST /notifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n');
  socket.write(`Content-Length: ${Buffer.byteLength(body)}\r\nExpect: 100-continue\r\n\r\n`);
  await waitFor('the service to ask for the body', () => answer.startsWith('HTTP/1.1 100'));
  const finish = async () => {
    socket.write(body);
    await closed;
    return answer;
  };
  return { finish, drop: () => socket.destroy() };
}

/** Whether anybody listens on a port of 127.0.0.1. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** The command lines that name a folder. Only Linux lists them without a program that may not be installed; else none. */
export function findCommands(folder: string): string[] {
  if (!existsSync('/proc/self/cmdline')) return [];
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .map(readCommand)
    .filter((command) => command.includes(folder));
}

/** Empty for a process that has just ended. */
function readCommand(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
