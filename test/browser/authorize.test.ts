import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Issuer, startIssuer } from '../support/auth.ts';
import { type Browsing, execute, openOperation, startBrowsing, type WatchedPage } from '../support/browser.ts';

let issuer: Issuer;
let browsing: Browsing;
let key: string;
let watched: WatchedPage;

beforeAll(async () => {
  issuer = await startIssuer();
  browsing = await startBrowsing({ AUTH: 'on', ...issuer.env });
  [key] = await browsing.local.print(/nk_[a-z0-9]{16}_[\w-]{43}/);
});

afterAll(async () => {
  await browsing?.stop();
  await issuer.stop();
});

beforeEach(async () => {
  watched = await browsing.openPage();
  await watched.page.goto(`${browsing.url}/docs`);
});

afterEach(() => watched.page.close());

/** Enters a key or a token in the dialog under "Authorize". */
async function authorize(page: Page, scheme: 'ApiKey' | 'Jwt', credentials: string): Promise<void> {
  await page.locator('.scheme-container').getByRole('button', { name: 'Authorize' }).click();
  const dialog = page.locator('.dialog-ux');
  const form = dialog.locator('.auth-container', { hasText: `${scheme} (http, Bearer)` });
  await form.locator('input').fill(credentials);
  await form.getByRole('button', { name: 'Apply credentials' }).click();
  await form.getByRole('button', { name: 'Remove authorization' }).waitFor();
  await dialog.locator('.close-modal').click();
}

/** Leaves the scheme again by the same dialog. */
async function leave(page: Page): Promise<void> {
  await page.locator('.scheme-container').getByRole('button', { name: 'Authorize' }).click();
  await page.getByRole('button', { name: 'Remove authorization' }).click();
  await page.locator('.dialog-ux .close-modal').click();
}

/** What the browser itself says of a reply that the service was right to refuse. */
const refusals = (...paths: string[]) =>
  paths.flatMap((path) => [
    `401: ${browsing.url}${path}`,
    'console error: Failed to load resource: the server responded with a status of 401 (Unauthorized)',
  ]);

function expectFaults(expected: string[]): void {
  expect(watched.faults.toSorted(compareText)).toEqual(expected.toSorted(compareText));
  expect([...watched.hosts]).toEqual([new URL(browsing.url).host]);
}

const compareText = (one: string, other: string) => one.localeCompare(other);

describe('"Authorize" of /docs', () => {
  it('is needed: without it, a call shows 401 and what is missing', async () => {
    const created = await execute(await openOperation(watched.page, 'createPreference'), { user_id: 1 });

    expect(created.status).toBe('401');
    expect(created.shown).toContain('"code": "credentials_missing"');
    expect(created.shown.toLowerCase()).toContain('www-authenticate: bearer realm="notifications"');
    expectFaults(refusals('/preferences'));
  });

  it.each([
    ['ApiKey', 2, () => key],
    ['Jwt', 3, () => issuer.sign({ scope: 'preferences:write notifications:broadcast' })],
  ] as const)('takes what belongs to %s, and calls succeed', async (scheme, user_id, make) => {
    await authorize(watched.page, scheme, await make());
    const created = await execute(await openOperation(watched.page, 'createPreference'), { user_id });
    const accepted = await execute(await openOperation(watched.page, 'createNotification'), { payload: 'Hello' });

    expect(created.status).toBe('201');
    expect(created.shown).toContain(`"user_id": ${user_id}`);
    expect(accepted.status).toBe('202');
    expectFaults([]);
  });

  it('can be taken back: what needs credentials shows 401 again', async () => {
    await authorize(watched.page, 'ApiKey', key);
    await leave(watched.page);
    const created = await execute(await openOperation(watched.page, 'createPreference'), { user_id: 4 });

    expect(created.status).toBe('401');
    expectFaults(refusals('/preferences'));
  });

  it('takes a token of somebody else, and calls show 401 and that it is not valid', async () => {
    await authorize(watched.page, 'Jwt', await issuer.sign({ aud: 'payments', scope: 'preferences:write' }));
    const created = await execute(await openOperation(watched.page, 'createPreference'), { user_id: 5 });

    expect(created.status).toBe('401');
    expect(created.shown).toContain('"code": "credentials_invalid"');
    expectFaults(refusals('/preferences'));
  });
});
