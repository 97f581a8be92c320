import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Locator, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findCommands, killProcesses, startProcess, waitFor } from '../support/process.ts';

/** Debian's Chromium is big and two cores are few. */
const PAGE_TIMEOUT_MS = 20_000;
/** As root there is no sandbox; the rest keeps the browser from talking to its maker. */
const ARGUMENTS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update'],
];

let folder: string;
let url: string;
let browser: Browser;
let page: Page;
/** What a person with the developer tools open would see go wrong. */
let faults: string[];
let hosts: Set<string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'browser-'));
  const ports = { PORT: '0', LOCAL_POSTGRES_PORT: '0', LOCAL_AWS_PORT: '0' };
  const local = startProcess('local.js', { cwd: folder, env: { ...ports, LOCAL_DEMO_USERS: '0' } });
  [, url = ''] = await local.print(/API +(http:\S+)/);
  const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
  browser = await chromium.launch({ executablePath, args: ARGUMENTS });
});

afterAll(async () => {
  await browser?.close();
  await killProcesses();
  await waitFor('every process of the folder to end', () => findCommands(folder).length === 0);
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  faults = [];
  hosts = new Set();
  page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  page.setDefaultTimeout(PAGE_TIMEOUT_MS);
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) faults.push(`console ${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`page error: ${error.message}`));
  page.on('requestfailed', (request) => faults.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on('response', (response) => {
    if (response.status() >= 400) faults.push(`${response.status()}: ${response.url()}`);
  });
  page.on('request', (request) => {
    if (!/^(data|blob):/.test(request.url())) hosts.add(new URL(request.url()).host);
  });
});

afterEach(() => page.close());

function expectNoFaults(): void {
  expect(faults).toEqual([]);
  expect([...hosts]).toEqual([new URL(url).host]);
}

/** Unfolds an operation, ready to be tried out. */
async function openOperation(operationId: string): Promise<Locator> {
  const operation = page.locator(`[id$="-${operationId}"]`);
  await operation.locator('.opblock-summary').click();
  const tryOut = operation.getByRole('button', { name: 'Try it out' });
  if (await tryOut.isVisible()) await tryOut.click();
  return operation;
}

/** Sends a body with "Execute" and returns the status and the body that the page shows as the server's reply. */
async function execute(operation: Locator, body?: object): Promise<{ status: string; shown: string }> {
  if (body !== undefined) await operation.locator('textarea.body-param__text').fill(JSON.stringify(body));
  await operation.getByRole('button', { name: 'Execute' }).click();
  const reply = operation.locator('.live-responses-table .response');
  const status = await reply.locator('.response-col_status').innerText();
  return { status: status.trim(), shown: await reply.locator('.response-col_description').innerText() };
}

describe('/docs', () => {
  it('creates preferences and sends a notification, by "Try it out"', async () => {
    await page.goto(`${url}/docs`);
    const created = await execute(await openOperation('createPreference'), {
      ...{ user_id: 7, email_enabled: true, sms_enabled: false },
    });
    const accepted = await execute(await openOperation('createNotification'), { payload: 'Your statement is ready' });

    expect(created.status).toBe('201');
    expect(created.shown).toContain('"user_id": 7');
    expect(accepted.status).toBe('202');
    expect(accepted.shown).toContain('"payload": "Your statement is ready"');
    expectNoFaults();
  });

  it('fills in bodies that can be sent as they are', async () => {
    await page.goto(`${url}/docs`);
    const created = await execute(await openOperation('createPreference'));
    const accepted = await execute(await openOperation('createNotification'));

    expect([created.status, accepted.status]).toEqual(['201', '202']);
    expectNoFaults();
  });
});

describe('/redoc', () => {
  it('shows every operation', async () => {
    await page.goto(`${url}/redoc`);
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, object> };
    const operations: { summary: string }[] = Object.values(document.paths).flatMap((path) => Object.values(path));

    for (const { summary } of operations) {
      await page.locator('h2', { hasText: summary }).first().waitFor();
    }
    expect(operations.length).toBeGreaterThan(10);
    expectNoFaults();
  });

  it('finds an operation by its words, in a worker that the policy lets run', async () => {
    await page.goto(`${url}/redoc`);

    await page.locator('input').first().fill('cancel');

    await page.locator('[data-role="search:results"] li').first().waitFor();
    expectNoFaults();
  });
});
