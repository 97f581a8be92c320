import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Browsing, execute, openOperation, startBrowsing, type WatchedPage } from '../support/browser.ts';

let browsing: Browsing;
let url: string;
let watched: WatchedPage;

beforeAll(async () => {
  browsing = await startBrowsing();
  url = browsing.url;
});

afterAll(() => browsing?.stop());

beforeEach(async () => {
  watched = await browsing.openPage();
});

afterEach(() => watched.page.close());

function expectNoFaults(): void {
  expect(watched.faults).toEqual([]);
  expect([...watched.hosts]).toEqual([new URL(url).host]);
}

describe('/docs', () => {
  it('creates preferences and sends a notification, by "Try it out"', async () => {
    await watched.page.goto(`${url}/docs`);
    const created = await execute(await openOperation(watched.page, 'createPreference'), {
      ...{ user_id: 7, email_enabled: true, sms_enabled: false },
    });
    const accepted = await execute(await openOperation(watched.page, 'createNotification'), {
      payload: 'Your statement is ready',
    });

    expect(created.status).toBe('201');
    expect(created.shown).toContain('"user_id": 7');
    expect(accepted.status).toBe('202');
    expect(accepted.shown).toContain('"payload": "Your statement is ready"');
    expectNoFaults();
  });

  it('fills in bodies that can be sent as they are', async () => {
    await watched.page.goto(`${url}/docs`);
    const created = await execute(await openOperation(watched.page, 'createPreference'));
    const accepted = await execute(await openOperation(watched.page, 'createNotification'));

    expect([created.status, accepted.status]).toEqual(['201', '202']);
    expectNoFaults();
  });
});

describe('/redoc', () => {
  it('shows every operation', async () => {
    await watched.page.goto(`${url}/redoc`);
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, object> };
    const operations: { summary: string }[] = Object.values(document.paths).flatMap((path) => Object.values(path));

    for (const { summary } of operations) {
      await watched.page.locator('h2', { hasText: summary }).first().waitFor();
    }
    expect(operations.length).toBeGreaterThan(10);
    expectNoFaults();
  });

  it('finds an operation by its words, in a worker that the policy lets run', async () => {
    await watched.page.goto(`${url}/redoc`);

    await watched.page.locator('input').first().fill('cancel');

    const found = watched.page.locator('[data-role="search:results"] li').first();
    await found.waitFor();
    expect(await found.textContent()).toMatch(/cancel/i);
    expectNoFaults();
  });
});
