import { readdir, readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  describeLicences,
  findRefusedLicences,
  type LockedLicences,
  listLicences,
  listStaleNotes,
} from '../../docs/licences.ts';
import { findUndecidedScripts, findUnlocked, findUnpinned, type LockFile, type Manifest } from './lock-file.ts';

let manifest: Manifest;
let lock: LockFile & LockedLicences;

beforeAll(async () => {
  manifest = JSON.parse(await readFile('package.json', 'utf8'));
  lock = JSON.parse(await readFile('package-lock.json', 'utf8'));
});

const HASH = `sha512-${'A'.repeat(86)}==`;
const TOOL = { version: '1.0.0', integrity: HASH, license: 'MIT', hasInstallScript: true };

/** A lock file in which nothing is wrong: a tool, and the part of it that is for one platform. */
const SMALL: LockFile & LockedLicences = {
  lockfileVersion: 3,
  packages: {
    '': { dependencies: { tool: '1.0.0' } },
    'node_modules/tool': { ...TOOL, optionalDependencies: { '@tool/win32': '1.0.0' } },
    'node_modules/@tool/win32': { version: '1.0.0', integrity: HASH, license: 'MIT' },
  },
};
const SMALL_MANIFEST: Manifest = {
  dependencies: { tool: '1.0.0' },
  devDependencies: {},
  allowScripts: { tool: false },
};

/** The small lock file with one package changed or added. */
function change(path: string, changes: object): LockFile & LockedLicences {
  return { ...SMALL, packages: { ...SMALL.packages, [path]: { ...SMALL.packages[path], ...changes } } };
}

describe('package-lock.json', () => {
  it('has every package as one exact version with a SHA-512, from whatever registry the machine is set to', () => {
    expect(Object.keys(lock.packages).length).toBeGreaterThan(300);
    expect(findUnpinned(manifest, lock)).toEqual([]);
  });

  it('has everything that any package wants, on every platform', () => {
    expect(findUnlocked(lock)).toEqual([]);
  });

  it('passes when nothing is wrong', () => {
    expect(findUnpinned(SMALL_MANIFEST, SMALL)).toEqual([]);
    expect(findUnlocked(SMALL)).toEqual([]);
  });

  it.each([
    ['no hash', { integrity: undefined }, 'has no SHA-512'],
    ['a weaker hash', { integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }, 'has no SHA-512'],
    ['a repository', { resolved: 'git+ssh://git@github.com/tool/tool.git#0123456' }, 'is bound to a place'],
    ['plain HTTP', { resolved: 'http://registry.npmjs.org/tool/-/tool-1.0.0.tgz' }, 'is bound to a place'],
    ['a folder', { link: true }, 'is bound to a place'],
    ['another version', { version: '1.0.1' }, 'is not locked to the version of package.json'],
    ['a range', { version: '^1.0.0' }, 'has no exact version'],
  ])('is refused with a package of %s', (_, changes, line) => {
    const found = findUnpinned(SMALL_MANIFEST, change('node_modules/tool', changes));

    expect(found).toContainEqual(expect.stringContaining(line));
  });

  it('is refused in another format, and with a direct dependency that is a range', () => {
    const ranged = { ...SMALL_MANIFEST, dependencies: { tool: '^1.0.0' } };

    expect(findUnpinned(SMALL_MANIFEST, { ...SMALL, lockfileVersion: 2 })).toEqual(['lockfileVersion is 2']);
    expect(findUnpinned(ranged, SMALL)).toContain('tool is pinned to ^1.0.0');
  });

  it('is refused without a package of another platform, or with one of another version', () => {
    const { 'node_modules/@tool/win32': _, ...without } = SMALL.packages;

    expect(findUnlocked({ ...SMALL, packages: without })).toEqual([
      'node_modules/tool wants @tool/win32, which is not locked',
    ]);
    expect(findUnlocked(change('node_modules/@tool/win32', { version: '0.0.1' }))).toEqual([
      'node_modules/tool wants @tool/win32@1.0.0, locked is 0.0.1',
    ]);
  });
});

describe('allowScripts', () => {
  it('decides about every package that runs a script when it is installed, and about no other', () => {
    expect(findUndecidedScripts(manifest, lock)).toEqual([]);
  });

  it('is refused when a package with a script comes or goes', () => {
    const come = change('node_modules/@tool/win32', { hasInstallScript: true });
    const gone = change('node_modules/tool', { hasInstallScript: false });

    expect(findUndecidedScripts(SMALL_MANIFEST, come)).toEqual(['@tool/win32 is undecided']);
    expect(findUndecidedScripts(SMALL_MANIFEST, gone)).toEqual(['tool has no script']);
  });
});

describe('licences', () => {
  it('are in docs/licences.md as package-lock.json has them', async () => {
    const committed = await readFile('docs/licences.md', 'utf8');

    expect(listLicences(lock).length).toBeGreaterThan(100);
    expect(committed, 'docs/licences.md is out of date: npm run docs:generate').toBe(describeLicences(lock));
  });

  it('are permissive, or accepted by name', () => {
    expect(findRefusedLicences(lock)).toEqual([]);
    expect(listStaleNotes(lock)).toEqual([]);
  });

  it.each([
    'GPL-3.0-only',
    'AGPL-3.0-or-later',
    'MIT AND GPL-2.0-only',
    'GPL-2.0-only OR LGPL-2.1-only',
    'BSD',
    '',
    undefined,
  ])('are refused when one is %s', (license) => {
    const refused = findRefusedLicences(change('node_modules/tool', { license }));

    expect(refused).toEqual([{ id: 'tool@1.0.0', licence: license ?? 'unknown' }]);
  });

  it.each(['(MPL-2.0 OR Apache-2.0)', 'MIT AND ISC'])('pass when one is %s', (license) => {
    expect(findRefusedLicences(change('node_modules/tool', { license }))).toEqual([]);
  });

  it('are looked at again when a package that was accepted by name has another version', () => {
    const changed = change('node_modules/elkjs', { version: '99.0.0', license: 'EPL-2.0' });

    expect(findRefusedLicences(changed)).toEqual([{ id: 'elkjs@99.0.0', licence: 'EPL-2.0' }]);
    expect(listStaleNotes(changed)).toContainEqual(expect.stringMatching(/^elkjs@/));
  });
});

describe('workflows', () => {
  it('name every action by its commit, with its version beside it for people and Dependabot', async () => {
    const lines = await readWorkflowLines();
    const actions = lines.filter((line) => /\buses:/.test(line));

    expect(actions.length).toBeGreaterThan(0);
    expect(actions.filter((line) => !/uses: [\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(line))).toEqual([]);
  });

  it('may read the repository and nothing else', async () => {
    const lines = await readWorkflowLines();
    const permissions = lines.filter((line) => /^\s*permissions:|: *write(-all)?$|: *read-all$/.test(line));

    expect(permissions).toEqual(['permissions:']);
    expect(lines[lines.indexOf('permissions:') + 1]).toBe('  contents: read');
  });
});

async function readWorkflowLines(): Promise<string[]> {
  const names = await readdir('.github/workflows');
  const texts = await Promise.all(names.map((name) => readFile(`.github/workflows/${name}`, 'utf8')));
  return texts.flatMap((text) => text.split('\n'));
}
