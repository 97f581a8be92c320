import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Locator, type Page } from 'playwright-core';
import { findCommands, killProcesses, type RunningProcess, startProcess, waitFor } from './process.ts';

/** Debian's Chromium is big and two cores are few. */
const PAGE_TIMEOUT_MS = 20_000;
/** As root there is no sandbox; the rest keeps the browser from talking to its maker. */
const ARGUMENTS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update'],
];

export type Browsing = {
  /** Where the local mode listens. */
  url: string;
  local: RunningProcess;
  openPage: () => Promise<WatchedPage>;
  stop: () => Promise<void>;
};

/** A page with what a person with the developer tools open would see go wrong, and the hosts it has talked to. */
export type WatchedPage = { page: Page; faults: string[]; hosts: Set<string> };

/** Starts the local mode without users, in a folder of its own, and a browser. The caller stops both. */
export async function startBrowsing(env: Record<string, string> = {}): Promise<Browsing> {
  const folder = await mkdtemp(join(tmpdir(), 'browser-'));
  const ports = { PORT: '0', LOCAL_POSTGRES_PORT: '0', LOCAL_AWS_PORT: '0' };
  const local = startProcess('local.js', { cwd: folder, env: { ...ports, LOCAL_DEMO_USERS: '0', ...env } });
  const [, url = ''] = await local.print(/API +(http:\S+)/);
  const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ARGUMENTS });
  const stop = async () => {
    await browser.close();
    await killProcesses();
    await waitFor('every process of the folder to end', () => findCommands(folder).length === 0);
    await rm(folder, { recursive: true });
  };
  return { url, local, openPage: () => openPage(browser), stop };
}

async function openPage(browser: Browser): Promise<WatchedPage> {
  const faults: string[] = [];
  const hosts = new Set<string>();
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
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
  return { page, faults, hosts };
}

/** Unfolds an operation of Swagger UI, ready to be tried out. */
export async function openOperation(page: Page, operationId: string): Promise<Locator> {
  const operation = page.locator(`[id$="-${operationId}"]`);
  await operation.locator('.opblock-summary').click();
  const tryOut = operation.getByRole('button', { name: 'Try it out' });
  if (await tryOut.isVisible()) await tryOut.click();
  return operation;
}

/** Sends a body with "Execute" and returns the status and the body that the page shows as the server's reply. */
export async function execute(operation: Locator, body?: object): Promise<{ status: string; shown: string }> {
  if (body !== undefined) await operation.locator('textarea.body-param__text').fill(JSON.stringify(body));
  await operation.getByRole('button', { name: 'Execute' }).click();
  const reply = operation.locator('.live-responses-table .response');
  const status = await reply.locator('.response-col_status').innerText();
  return { status: status.trim(), shown: await reply.locator('.response-col_description').innerText() };
}
