/** What `docs/licences.md` and its check read of `package-lock.json`. */
export type LockedLicences = { packages: Record<string, { version?: string; license?: string; dev?: boolean }> };

/** A package of production: `licence` is an SPDX expression, `unknown` where nobody has said. */
export type LicensedPackage = { id: string; licence: string };

/** Permissive: they ask for their text to be kept, and for nothing of ours (https://spdx.org/licenses/). */
const ACCEPTED = new Set([
  ...['MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', '0BSD', 'BlueOak-1.0.0', 'Unlicense', 'Python-2.0'],
]);

/** By version, so that another one is looked at again. `licence` where the package names none, or not as SPDX does. */
const LOOKED_AT: Record<string, { licence?: string; accepted?: true; why: string }> = {
  '@visx/vendor@4.0.0-alpha.0': { licence: 'MIT AND ISC', why: 'it says “MIT and ISC”' },
  'decko@1.2.0': { licence: 'MIT', why: 'its LICENSE file; package.json names none' },
  'elkjs@0.11.1': { accepted: true, why: 'part of Prisma’s studio, which the service never loads; used unchanged' },
  'seq-queue@0.0.5': { licence: 'MIT', why: 'its LICENSE file; package.json names none' },
  'stickyfill@1.1.1': { licence: 'MIT', why: 'its LICENSE file; package.json names none' },
  'url-template@2.0.8': { licence: 'BSD-3-Clause', why: 'its LICENSE file; package.json says “BSD”' },
};

/** `docs/licences.md`: every package that runs in production, optional ones of other platforms included. */
export function describeLicences(lock: LockedLicences): string {
  const packages = listLicences(lock);
  const counts = new Map<string, number>();
  for (const { licence } of packages) counts.set(licence, (counts.get(licence) ?? 0) + 1);
  const most = [...counts].toSorted(([a, some], [b, others]) => others - some || compare(a, b));
  const noted = packages.flatMap(({ id, licence }) => {
    const why = LOOKED_AT[id]?.why;
    return why === undefined ? [] : [`| \`${id}\` | ${licence} | ${why} |`];
  });
  return [
    '# Licences',
    `The ${packages.length} packages that \`package-lock.json\` installs without the development ones; made by \`npm run docs:generate\`.`,
    ['', '| licence | packages |', '|---|---:|'],
    most.map(([licence, count]) => `| ${licence} | ${count} |`),
    ['', '## Looked at by hand', '| package | licence | why |', '|---|---|---|', ...noted],
    ['', '## All', '| package | licence |', '|---|---|'],
    packages.map(({ id, licence }) => `| \`${id}\` | ${licence} |`),
    '',
  ]
    .flat()
    .join('\n');
}

/** Every package of production with its licence, once per version, by name. */
export function listLicences({ packages }: LockedLicences): LicensedPackage[] {
  const licences = new Map<string, string>();
  for (const [path, { version, license, dev }] of Object.entries(packages)) {
    if (path === '' || dev) continue;
    const id = `${path.replace(/^.*node_modules\//, '')}@${version}`;
    licences.set(id, LOOKED_AT[id]?.licence ?? license ?? 'unknown');
  }
  return [...licences].map(([id, licence]) => ({ id, licence })).toSorted((a, b) => compare(a.id, b.id));
}

/** The packages whose licence is neither permissive nor accepted by name. */
export function findRefusedLicences(lock: LockedLicences): LicensedPackage[] {
  return listLicences(lock).filter(({ id, licence }) => !isAccepted(licence) && LOOKED_AT[id]?.accepted !== true);
}

/** What has been looked at by hand but is not installed any more. */
export function listStaleNotes(lock: LockedLicences): string[] {
  const installed = new Set(listLicences(lock).map(({ id }) => id));
  return Object.keys(LOOKED_AT).filter((id) => !installed.has(id));
}

/** An expression of one level: of `A OR B` one is enough, of `A AND B` both are needed. Anything else is refused. */
function isAccepted(expression: string): boolean {
  const terms = expression.replace(/^\((.*)\)$/, '$1');
  if (terms.includes(' OR ') && !terms.includes(' AND ')) return terms.split(' OR ').some((id) => ACCEPTED.has(id));
  return terms.split(' AND ').every((id) => ACCEPTED.has(id));
}

/** The same order on every machine, whatever its language. */
function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
