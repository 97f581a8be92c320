/**
 * Writes the bill of materials of what runs in production, as CycloneDX: `node .ci/sbom.mjs <file>`.
 * Exits 1 unless it names exactly the packages that the lock file installs without the development ones.
 */

import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';

/** Room for what npm prints: about 1 kB per package. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
/** npm reads the lock file only, which takes it a second. */
const TIMEOUT_MS = 60_000;

const [, , file = 'dist/sbom.json'] = process.argv;
const lock = JSON.parse(await readFile('package-lock.json', 'utf8'));
const bom = keepProduction(readBom());
const [named, locked] = [new Set(bom.components.map(({ purl }) => purl)), listLocked()];
const wrong = [
  ...[...locked].filter((purl) => !named.has(purl)).map((purl) => `missing: ${purl}`),
  ...[...named].filter((purl) => !locked.has(purl)).map((purl) => `not in the lock file: ${purl}`),
];
if (wrong.length > 0 || locked.size === 0) {
  console.error(['The bill of materials does not match package-lock.json.', ...wrong].join('\n'));
  process.exit(1);
}
await writeFile(file, `${JSON.stringify(bom, null, 2)}\n`);
console.log(`${file}: ${named.size} packages`);

function readBom() {
  const options = ['--package-lock-only', '--sbom-format=cyclonedx', '--sbom-type=application'];
  const limits = { encoding: 'utf8', maxBuffer: MAX_OUTPUT_BYTES, timeout: TIMEOUT_MS };
  return JSON.parse(execFileSync('npm', ['sbom', ...options], limits));
}

/** `npm sbom --omit dev` also leaves out what production shares with a development package, so that is done here. */
function keepProduction(all) {
  const isDevelopment = ({ name, value }) => name === 'cdx:npm:package:development' && value === 'true';
  const components = all.components.filter(({ properties = [] }) => !properties.some(isDevelopment));
  const root = all.metadata.component['bom-ref'];
  const refs = new Set([root, ...components.map((component) => component['bom-ref'])]);
  const dependencies = all.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((target) => refs.has(target)) }));
  // npm calls the root what its folder is called.
  const metadata = { ...all.metadata, component: { ...all.metadata.component, name: lock.name } };
  return { ...all, metadata, components, dependencies };
}

function listLocked() {
  const packages = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && dev !== true);
  return new Set(
    packages.map(([path, { version }]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      return `pkg:npm/${name.replace('@', '%40')}@${version}`;
    }),
  );
}
