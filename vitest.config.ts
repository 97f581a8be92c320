import { defineConfig } from 'vitest/config';

/** `rules` reads the sources only, `service` runs on PostgreSQL and the SNS/SQS emulator, `browser` adds Chromium. */
export default defineConfig({
  test: {
    // Mostly waiting for PostgreSQL, processes and sockets, so that no core need be left for the runner.
    maxWorkers: '100%',
    projects: [
      { test: { name: 'rules', include: ['test/rules/**/*.test.ts'] } },
      {
        test: {
          name: 'service',
          include: ['test/**/*.test.ts'],
          exclude: ['test/rules/**', 'test/browser/**'],
          globalSetup: ['test/support/infrastructure.ts'],
          setupFiles: ['test/support/environment.ts'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      { test: { name: 'browser', include: ['test/browser/**/*.test.ts'], testTimeout: 60_000, hookTimeout: 120_000 } },
    ],
  },
});
