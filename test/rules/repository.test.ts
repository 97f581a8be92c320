import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';

/** What the repository's top level consists of, beside files and folders that start with a dot. */
const TOP_LEVEL = [
  ...['src', 'prisma', 'test', 'docs'],
  ...['package.json', 'package-lock.json', 'tsconfig.json', 'vitest.config.ts', 'README.md', 'architecture.png'],
];

/** What npm runs by a name of its own. */
const SHORTHANDS = /\bnpm (start|test|run(?:-script)?(?: -s)? [\w:-]+)/g;

async function readPackage(): Promise<{ scripts: Record<string, string> }> {
  return JSON.parse(await readFile('package.json', 'utf8'));
}

/** The names that git has, or would take up with `git add`. */
function listTopLevel(): string[] {
  const options = { encoding: 'utf8' } as const;
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], options).split('\n');
  return [...new Set(files.map((file) => file.split('/')[0] ?? ''))].filter((name) => name !== '');
}

describe('the repository', () => {
  it('has nothing at its top level but what belongs there', () => {
    const names = listTopLevel().filter((name) => !name.startsWith('.'));

    expect(names.toSorted()).toEqual(TOP_LEVEL.toSorted());
  });
});

describe('package.json', () => {
  it('has every script that README.md names', async () => {
    const { scripts } = await readPackage();
    const readme = await readFile('README.md', 'utf8');
    const named = [...readme.matchAll(SHORTHANDS)].map(([, name = '']) => name.replace(/^run(-script)?( -s)? /, ''));

    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });
});
