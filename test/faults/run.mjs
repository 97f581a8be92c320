/**
 * Runs the fault rows: `npm run test:faults -- [--short] [--only 2,9] [--seed N] [--json]`. Other arguments go to vitest.
 * Ends with 1 when a row is missed.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/** Short rows mostly wait, but each has up to three processes: with four at a time, two cores starve them for seconds. */
const SHORT_WORKERS = 2;

const options = {
  ...{ short: { type: 'boolean' }, json: { type: 'boolean' } },
  ...{ only: { type: 'string', default: '' }, seed: { type: 'string', default: String(randomInt(2 ** 31)) } },
};
const { values, tokens } = parseArgs({ options, strict: false, tokens: true });
const others = tokens
  .filter(({ kind, name }) => kind === 'option' && !(name in options))
  .map(({ rawName, value }) => (value === undefined ? rawName : `${rawName}=${value}`));
const rows = values.only
  .split(',')
  .filter(Boolean)
  .map((row) => `test/faults/${row.padStart(2, '0')}-`);

process.stderr.write(`faults, ${values.short ? 'in short' : 'in full'}, seed ${String(values.seed)}\n`);
const child = spawn(
  process.execPath,
  [
    ...[join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs'), 'run', '--project', 'faults'],
    ...[
      '--reporter=./test/faults/reporter.ts',
      ...(values.short ? [`--maxWorkers=${SHORT_WORKERS}`] : []),
      ...others,
      ...rows,
    ],
  ],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      ...{ FAULTS: values.short ? 'short' : 'full', FAULTS_SEED: values.seed, FAULTS_JSON: values.json ? '1' : '0' },
    },
  },
);
child.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
