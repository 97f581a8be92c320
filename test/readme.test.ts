import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadDemoUsers } from '../src/local/demo-users.ts';
import { createTestKey, startGuardedService } from './support/auth.ts';
import { eventually } from './support/dispatch.ts';
import type { TestService } from './support/service.ts';

const README = new URL('../README.md', import.meta.url);
/** What differs from run to run. */
const VOLATILE = /"(?:(?:notifications\/)?[0-9a-f-]{36}|\/requests\/[0-9a-f-]{36}|\d{4}-\d\d-\d\dT[\d:.]+Z)"/g;
/** A broadcast to the demo users is done long before it has been asked for this often. */
const REPLY_TRIES_MAX = 300;
/** What `npm run local` loads when it is told nothing else. */
const DEMO_USERS = 100;
/** What it is told to load for the section on control. */
const CONTROLLED_USERS = 20_000;
/** As the tour defines it. */
const CALL = `call() { curl -s -H "authorization: Bearer $key" -H 'content-type: application/json' "$@"; }`;

/** Commands, and what the reader is shown after the last of them. */
type Block = { commands: string[]; shown: string | undefined };

/** Every block of commands under a heading. A command ends with its line, unless that ends with a pipe. */
async function readBlocks(heading: RegExp): Promise<Block[]> {
  const readme = await readFile(README, 'utf8');
  const [, text = ''] = readme.split(heading);
  const [section = ''] = text.split(/^##/m);
  const blocks = section.matchAll(/^```sh\n(.*?)\n```\n(?:```(?:json)?\n(.*?)^```)?/gms);
  return [...blocks].map(([, commands = '', shown]) => ({ commands: commands.split(/(?<!\|)\n/), shown }));
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

/** Numbers too: of what was seen in the middle of a broadcast. */
function maskNumbers(json: string): unknown {
  return JSON.parse(json.replaceAll(VOLATILE, '"…"').replaceAll(/(?<=: ?)\d+(\.\d+)?/g, '0'));
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
    const tour = await readBlocks(/^## A tour$/m);
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

describe('the section on control of the README', () => {
  let service: TestService;
  let key: string;

  beforeAll(async () => {
    service = await startGuardedService({ PUBLISH_RATE_LIMIT: '2000' });
    key = await createTestKey(service.db, { name: 'demo' });
    await loadDemoUsers(service.db, CONTROLLED_USERS);
  });
  afterAll(() => service.stop());

  it('has commands that do what is shown', async () => {
    const shell = openShell();
    await shell.run(`key=${key}; api=${service.url}; ${CALL}`);
    const [local, notify, pause, resume, events] = await readBlocks(/^### In control of a broadcast$/m);
    expect(local?.commands).toEqual([expect.stringMatching(/PUBLISH_RATE_LIMIT=\d+ AUTH=on npm run local$/)]);

    const [setKey = '', run = ''] = notify?.commands ?? [];
    await shell.run(setKey);
    await shell.run(`client=$(mktemp); ${run} --yes --url $api > $client 2>&1 &`);
    await eventually(async () => {
      expect(await shell.run(`call "$api/notifications?status=dispatching"`)).toContain('"dispatching"');
    });
    const [find = '', stop = ''] = pause?.commands ?? [];
    await shell.run(find);
    expect(maskNumbers(await shell.run(stop))).toEqual(maskNumbers(pause?.shown ?? ''));
    expect(await shell.run(resume?.commands[0] ?? '')).toContain('"status":"dispatching"');
    const watched = await shell.run(events?.commands[0] ?? '');
    const client = await shell.run('wait; cat $client; rm $client');
    shell.close();

    expect(watched).toMatch(/^retry: 2000event: progressdata: \{.*event: endid: enddata: \{.*"status":"completed"/);
    const shown = /^Everyone is .*?messages {2}.*?$/ms.exec(notify?.shown ?? '')?.[0].replaceAll('\n', '');
    expect(shown).toBeDefined();
    expect(client).toContain(shown);
    expect(client).toMatch(/Notification [0-9a-f-]{36} completed.*told {14}14,000/);
  });
});
