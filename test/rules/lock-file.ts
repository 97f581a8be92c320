type Ranges = Record<string, string>;

type LockedPackage = {
  version?: string;
  resolved?: string;
  integrity?: string;
  link?: boolean;
  hasInstallScript?: boolean;
  dependencies?: Ranges;
  devDependencies?: Ranges;
  optionalDependencies?: Ranges;
};

export type LockFile = { lockfileVersion: number; packages: Record<string, LockedPackage> };

export type Manifest = { dependencies: Ranges; devDependencies: Ranges; allowScripts: Record<string, boolean> };

/** An exact version, with or without a pre-release. */
const EXACT_VERSION = /^\d+\.\d+\.\d+(-[\w.-]+)?$/;
/** SHA-512 in base64, and no weaker hash beside it that npm could fall back to. */
const SHA512 = /^sha512-[A-Za-z0-9+/]{86}==$/;

/** What is wrong with where the packages come from, as lines: each has to be one exact, hashed package of a registry. */
export function findUnpinned({ dependencies, devDependencies }: Manifest, lock: LockFile): string[] {
  const direct = Object.entries({ ...dependencies, ...devDependencies });
  const packages = Object.entries(lock.packages).filter(([path]) => path !== '');
  return [
    ...(lock.lockfileVersion === 3 ? [] : [`lockfileVersion is ${lock.lockfileVersion}`]),
    ...direct.filter(([, range]) => !EXACT_VERSION.test(range)).map(([name, range]) => `${name} is pinned to ${range}`),
    ...direct
      .filter(([name, range]) => lock.packages[`node_modules/${name}`]?.version !== range)
      .map(([name]) => `${name} is not locked to the version of package.json`),
    ...packages.flatMap(([path, { version, integrity, resolved, link }]) => [
      ...(EXACT_VERSION.test(version ?? '') ? [] : [`${path} has no exact version`]),
      ...(SHA512.test(integrity ?? '') ? [] : [`${path} has no SHA-512`]),
      // Absent, it is whatever registry the machine is set to, and the hash decides; git, files and URLs always have it.
      ...(resolved === undefined && !link ? [] : [`${path} is bound to a place`]),
    ]),
  ];
}

/** Dependencies that no entry answers, platform packages included: `npm ci` fails there, or installs without them. */
export function findUnlocked({ packages }: LockFile): string[] {
  return Object.entries(packages).flatMap(([path, locked]) => {
    const wanted = { ...locked.dependencies, ...locked.devDependencies, ...locked.optionalDependencies };
    return Object.entries(wanted).flatMap(([name, range]) => {
      const found = resolve(packages, path, name);
      if (found === undefined) return [`${path || 'package.json'} wants ${name}, which is not locked`];
      const isOther = EXACT_VERSION.test(range) && found.version !== range;
      return isOther ? [`${path || 'package.json'} wants ${name}@${range}, locked is ${found.version}`] : [];
    });
  });
}

/** Packages that run a script when they are installed and about which `allowScripts` says nothing, and those it names in vain. */
export function findUndecidedScripts({ allowScripts }: Manifest, { packages }: LockFile): string[] {
  const scripted = new Set(
    Object.entries(packages)
      .filter(([, { hasInstallScript }]) => hasInstallScript === true)
      .map(([path]) => path.replace(/^.*node_modules\//, '')),
  );
  return [
    ...[...scripted].filter((name) => !Object.hasOwn(allowScripts, name)).map((name) => `${name} is undecided`),
    ...Object.keys(allowScripts)
      .filter((name) => !scripted.has(name))
      .map((name) => `${name} has no script`),
  ];
}

/** The package that a name means at a path, looked up as Node does: in the folder's own `node_modules`, then further up. */
function resolve(packages: LockFile['packages'], from: string, name: string): LockedPackage | undefined {
  const found = packages[`${from === '' ? '' : `${from}/`}node_modules/${name}`];
  if (found !== undefined || from === '') return found;
  return resolve(packages, from.slice(0, Math.max(from.lastIndexOf('node_modules/') - 1, 0)), name);
}
