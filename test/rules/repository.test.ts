import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';

/** What the repository's top level consists of, beside files and folders that start with a dot. */
const TOP_LEVEL = [
  ...['src', 'prisma', 'test', 'docs'],
  ...['package.json', 'package-lock.json', 'tsconfig.json', 'vitest.config.ts', 'README.md', 'architecture.png'],
];

/** An exact version, with or without a pre-release. */
const EXACT_VERSION = /^\d+\.\d+\.\d+(-[\w.-]+)?$/;

/** What npm runs by a name of its own. */
const SHORTHANDS = /\bnpm (start|test|run(?:-script)? [\w:-]+)/g;

type Package = {
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};

async function readPackage(): Promise<Package> {
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
  it('pins every version exactly', async () => {
    const { dependencies, devDependencies } = await readPackage();
    const versions = Object.entries({ ...dependencies, ...devDependencies });

    expect(versions.length).toBeGreaterThan(0);
    expect(versions.filter(([, version]) => !EXACT_VERSION.test(version))).toEqual([]);
  });

  it('has every script that README.md names', async () => {
    const { scripts } = await readPackage();
    const readme = await readFile('README.md', 'utf8');
    const named = [...readme.matchAll(SHORTHANDS)].map(([, name = '']) => name.replace(/^run(-script)? /, ''));

    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });
});

describe('package-lock.json', () => {
  it('leaves the choice of the registry to whoever installs', async () => {
    const lock: { packages: Record<string, { resolved?: string }> } = JSON.parse(
      await readFile('package-lock.json', 'utf8'),
    );

    const bound = Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined);
    expect(bound.map(([name]) => name)).toEqual([]);
  });
});
