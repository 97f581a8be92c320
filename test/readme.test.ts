import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
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

/** One shell, like a reader's terminal: variables stay. Returns what a command prints. The shell goes with the test. */
function openShell() {
  const bash = spawn('bash', { stdio: ['pipe', 'pipe', 'ignore'] });
  onTestFinished(() => void bash.kill());
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
  return { run };
}

/** Commands as a reader would type them: with the address and the key that a start shows. */
const fillIn = (commands: string[], { url, key }: { url: string; key: string }) =>
  commands.map((line) => line.replace('http://127.0.0.1:8000', url).replace(/^key=.+/, `key=${key}`));

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
      const typed = fillIn(commands, { url: service.url, key });
      for (const line of typed.slice(0, -1)) await shell.run(line);
      const seen = () => shell.run(typed.at(-1) ?? '');
      if (shown === undefined) await seen();
      else wrong.push(...(await waitForReply(seen, shown)));
    }

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

  it('has commands that do what is shown, each terminal with no more than the section defines', async () => {
    const [local, define, notify, pause, resume, events] = await readBlocks(/^### In control of a broadcast$/m);
    expect(local?.commands).toEqual([expect.stringMatching(/PUBLISH_RATE_LIMIT=\d+ AUTH=on npm run local$/)]);
    const openTerminal = async () => {
      const shell = openShell();
      for (const line of fillIn(define?.commands ?? [], { url: service.url, key })) await shell.run(line);
      return shell;
    };
    const [client, other] = [await openTerminal(), await openTerminal()];

    const [setKey = '', run = ''] = notify?.commands ?? [];
    await client.run(setKey);
    await client.run(`printed=$(mktemp); ${run} --yes --url $api > $printed 2>&1 &`);
    const [find = '', stop = ''] = pause?.commands ?? [];
    await eventually(async () => {
      expect(await other.run(`call "$api/notifications?status=dispatching"`)).toContain('"dispatching"');
    });
    await other.run(find);
    expect(maskNumbers(await other.run(stop))).toEqual(maskNumbers(pause?.shown ?? ''));
    expect(await other.run(resume?.commands[0] ?? '')).toContain('"status":"dispatching"');
    const watched = await other.run(events?.commands[0] ?? '');
    const printed = await client.run('wait; cat $printed; rm $printed');

    expect(watched).toMatch(/^retry: 2000event: progressdata: \{.*event: endid: enddata: \{.*"status":"completed"/);
    const shown = /^Everyone is .*?messages {2}.*?$/ms.exec(notify?.shown ?? '')?.[0].replaceAll('\n', '');
    expect(shown).toBeDefined();
    expect(printed).toContain(shown);
    expect(printed).toMatch(/Notification [0-9a-f-]{36} completed.*told {14}14,000/);
  });
});
