import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadDemoUsers } from '../src/local/demo-users.ts';
import { createTestKey, startGuardedService } from './support/auth.ts';
import type { TestService } from './support/service.ts';

const README = new URL('../README.md', import.meta.url);
/** What differs from run to run. */
const VOLATILE = /"(?:(?:notifications\/)?[0-9a-f-]{36}|\/requests\/[0-9a-f-]{36}|\d{4}-\d\d-\d\dT[\d:.]+Z)"/g;
/** A broadcast to the demo users is done long before it has been asked for this often. */
const REPLY_TRIES_MAX = 300;
/** What `npm run local` loads when it is told nothing else. */
const DEMO_USERS = 100;

/** Every block of commands of the tour, with the JSON the reader is shown after its last one. */
async function readTour(): Promise<{ commands: string[]; shown: string | undefined }[]> {
  const readme = await readFile(README, 'utf8');
  const tour = /^## A tour$(.*?)^## /ms.exec(readme)?.[1] ?? '';
  const blocks = tour.matchAll(/^```sh\n(.*?)\n```\n(?:```json\n(.*?)^```)?/gms);
  return [...blocks].map(([, commands = '', shown]) => ({ commands: commands.split('\n'), shown }));
}

/** One shell, like a reader's terminal: variables stay. Returns what a command prints. */
function openShell() {
  const bash = spawn('bash', { stdio: ['pipe', 'pipe', 'ignore'] });
  const lines = createInterface({ input: bash.stdout })[Symbol.asyncIterator]();
  const run = async (command: string): Promise<string> => {
    bash.stdin.write(`${command}\necho; echo exit\n`);
    let printed = '';
    for (;;) {
      const { value = 'exit' } = await lines.next();
      if (value.startsWith('exit')) return printed;
      printed += value;
    }
  };
  return { run, close: () => bash.kill() };
}

function mask(json: string): unknown {
  return JSON.parse(json.replaceAll(VOLATILE, '"…"'));
}

/** Repeats a command until it answers as shown, as a broadcast takes a moment. Returns the last answer if it never does. */
async function waitForReply(run: () => Promise<string>, shown: string): Promise<unknown[]> {
  const wanted = mask(shown);
  let seen: unknown;
  for (let tries = 0; tries < REPLY_TRIES_MAX; tries++) {
    seen = mask(await run());
    if (isDeepStrictEqual(seen, wanted)) return [];
  }
  return [{ seen, wanted }];
}

describe('the tour of the README', () => {
  let service: TestService;
  let key: string;

  beforeAll(async () => {
    service = await startGuardedService();
    key = await createTestKey(service.db, { name: 'demo' });
    await loadDemoUsers(service.db, DEMO_USERS);
  });
  afterAll(() => service.stop());

  it('answers every command as shown', async () => {
    const shell = openShell();
    const tour = await readTour();
    const wrong: unknown[] = [];

    for (const { commands, shown } of tour) {
      const typed = commands.map((line) =>
        line.replace('http://127.0.0.1:8000', service.url).replace(/^key=.+/, `key=${key}`),
      );
      for (const line of typed.slice(0, -1)) await shell.run(line);
      const seen = () => shell.run(typed.at(-1) ?? '');
      if (shown === undefined) await seen();
      else wrong.push(...(await waitForReply(seen, shown)));
    }

    shell.close();
    expect(wrong).toEqual([]);
    expect(tour.filter(({ shown }) => shown !== undefined).length).toBeGreaterThanOrEqual(5);
  });
});
