import { randomInt } from 'node:crypto';
import { defineConfig } from 'vitest/config';

/** Everything random follows from it; FUZZ_SEED repeats a run. */
const seed = Number(process.env['FUZZ_SEED'] ?? randomInt(2 ** 31));
const isShort = process.env['FUZZ'] === 'short';
const FUZZ = isShort
  ? { seed, isShort, malformed: 5_000, valid: 2_000, raw: 300, sequences: 200 }
  : { seed, isShort, malformed: 120_000, valid: 10_000, raw: 5_000, sequences: 5_000 };

/** Like FUZZ and its seed; test/faults/run.mjs sets both. */
const FAULTS = {
  seed: Number(process.env['FAULTS_SEED'] ?? randomInt(2 ** 31)),
  isShort: process.env['FAULTS'] === 'short',
};

/** On PostgreSQL and the SNS/SQS emulator. */
const SERVICE = {
  globalSetup: ['test/support/infrastructure.ts'],
  setupFiles: ['test/support/environment.ts'],
  testTimeout: 30_000,
  hookTimeout: 60_000,
};

/**
 * `rules` reads the sources only, `service` runs on PostgreSQL and the SNS/SQS emulator, `browser` adds Chromium, `fuzz`
 * sends what nobody would, in its short form with FUZZ=short, `faults` breaks things, and `load` needs the machine for itself.
 */
export default defineConfig({
  test: {
    // Mostly waiting for PostgreSQL, processes and sockets, so that no core need be left for the runner.
    maxWorkers: '100%',
    projects: [
      { test: { name: 'rules', include: ['test/rules/**/*.test.ts'] } },
      {
        test: {
          ...{ ...SERVICE, name: 'service', include: ['test/**/*.test.ts'] },
          exclude: ['test/rules/**', 'test/browser/**', 'test/faults/**', 'test/fuzz/**', 'test/load/**'],
        },
      },
      { test: { name: 'browser', include: ['test/browser/**/*.test.ts'], testTimeout: 60_000, hookTimeout: 120_000 } },
      {
        test: {
          ...{ ...SERVICE, name: 'load', include: ['test/load/**/*.test.ts'] },
          ...{ testTimeout: 120_000, fileParallelism: false },
        },
      },
      {
        test: {
          ...{ ...SERVICE, name: 'faults', include: ['test/faults/**/*.test.ts'] },
          // In short, rows mostly wait for leases, and may wait together; in full, times are measured.
          ...{ fileParallelism: FAULTS.isShort, provide: { faults: FAULTS } },
        },
      },
      {
        test: {
          ...{ ...SERVICE, name: 'fuzz', include: ['test/fuzz/**/*.test.ts'] },
          // The service is in the process that makes the inputs: two at once delay its event loop until it sheds load.
          fileParallelism: false,
          provide: { fuzz: FUZZ },
        },
      },
    ],
  },
});
