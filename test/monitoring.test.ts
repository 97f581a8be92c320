import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { findUnknown, parseSeries, type Series } from './support/promql.ts';
import { call, startTestService, type TestService } from './support/service.ts';

type Rule = { alert: string; expr: string; labels: { severity: string }; annotations: Record<string, string> };
type Panel = { type: string; title: string; targets?: { expr: string }[] };

let service: TestService;
let series: Series[];
let rules: Rule[];
let panels: Panel[];

/** What the dashboard and the alerts name has to have happened once. */
async function useService(): Promise<void> {
  const nobody = '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/events';
  const lines = { 'content-type': 'application/x-ndjson' };
  await call(service, 'POST', '/users/import', '{"user_id": 1, "email": "ada@example.com"}\n', lines);
  await call(service, 'POST', '/preferences/import', '{"user_id": 1, "email_enabled": true}\n', lines);
  await call(service, 'GET', nobody);
  await call(service, 'POST', '/notifications/preview', { payload: 'Hello' });
  await call(service, 'POST', '/notifications', { payload: 'Hello', user_ids: [1, 2] }, { prefer: 'wait=30' });
}

beforeAll(async () => {
  service = await startTestService();
  await useService();
  series = parseSeries((await call(service, 'GET', '/metrics')).text);
  rules = parse(await readFile('docs/operations/alerts.yaml', 'utf8')).groups[0].rules;
  panels = JSON.parse(await readFile('docs/operations/dashboard.json', 'utf8')).panels;
});

afterAll(() => service.stop());

/** The value of a series as it stands in a scrape. */
async function readValue(name: string): Promise<number> {
  const { text } = await call(service, 'GET', '/metrics');
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1) ?? Number.NaN);
}

describe('the metrics of a service', () => {
  it('count what became of pages, recipients and calls', async () => {
    expect(await readValue('dispatch_pages_total{event="claimed"}')).toBe(1);
    expect(await readValue('dispatch_pages_total{event="published"}')).toBe(1);
    expect(await readValue('dispatch_pages_total{event="fenced_out"}')).toBe(0);
    expect(await readValue('dispatch_recipients_total{outcome="published",reason="none"}')).toBe(1);
    expect(await readValue('dispatch_recipients_total{outcome="suppressed",reason="unknown_user"}')).toBe(1);
    expect(await readValue('dispatch_recipients_total{outcome="suppressed",reason="opted_out"}')).toBe(0);
    expect(await readValue('publish_call_duration_seconds_count{result="taken"}')).toBe(1);
    expect(await readValue('publish_outage')).toBe(0);
  });

  it('tell how the pool is used, and that nothing is due', async () => {
    expect(await readValue('database_pool_max')).toBe(5);
    expect(await readValue('database_pool_open')).toBeGreaterThan(0);
    expect(await readValue('database_pool_waiting')).toBe(0);
    expect(await readValue('dispatch_lag_seconds')).toBe(0);
    expect(await readValue('dispatch_wait_seconds')).toBe(0);
  });
});

describe('the dashboard', () => {
  it('shows metrics and labels that there are', () => {
    const shown = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

    expect(shown.length).toBeGreaterThan(15);
    expect(shown.flatMap((expr) => findUnknown(expr, series))).toEqual([]);
  });

  it('has something in every panel, each under a title of its own', () => {
    const titles = panels.map(({ title }) => title);

    expect(panels.filter(({ type, targets }) => type !== 'row' && !targets?.length)).toEqual([]);
    expect(new Set(titles).size).toBe(titles.length);
  });

  it('and the alerts leave out no metric of ours', async () => {
    const used = [...panels.flatMap(({ targets = [] }) => targets), ...rules].map(({ expr }) => expr).join(' ');
    const ours = new Set(
      series.map(({ name }) => name).filter((name) => /^(dispatch|publish|database|http)_/.test(name)),
    );

    // Of a histogram one of its three serves.
    const stems = [...ours].map((name) => name.replace(/_(bucket|sum|count)$/, ''));
    expect(stems.filter((name) => !used.includes(name))).toEqual([]);
  });
});

describe('the alerts', () => {
  it('watch metrics and labels that there are', () => {
    expect(rules.length).toBeGreaterThan(10);
    expect(rules.flatMap(({ expr }) => findUnknown(expr, series))).toEqual([]);
  });

  it('say how bad it is, and lead to what to do', async () => {
    const guide = await readFile('docs/operations.md', 'utf8');
    const anchors = [...guide.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    );

    for (const { alert, labels, annotations } of rules) {
      const [file, anchor] = annotations['runbook']?.split('#') ?? [];
      expect([alert, labels.severity]).toEqual([alert, expect.stringMatching(/^(critical|warning|info)$/)]);
      expect([alert, file, anchors.includes(anchor ?? '')]).toEqual([alert, 'docs/operations.md', true]);
      expect(guide).toContain(alert);
    }
  });
});

describe('the check of expressions', () => {
  it.each([
    ['sum(rate(dispatch_pages_totals[1m]))', 'no metric dispatch_pages_totals'],
    ['sum by (event) (rate(dispatch_pages_total{events="claimed"}[1m]))', 'no label events of dispatch_pages_total'],
    ['dispatch_pages_total{event=~"claimed|stolen"} > 1', 'no event="stolen" of dispatch_pages_total'],
    ['dispatch_recipients_total{outcome!="failde"}', 'no outcome="failde" of dispatch_recipients_total'],
    ['sum by (results) (publish_call_duration_seconds_count)', 'no label results'],
    ['dispatch_wait_seconds > 60 and publish_outages == 1', 'no metric publish_outages'],
    ['sum(1)', 'no metric in sum(1)'],
  ])('finds what there is not in %s', (expression, fault) => {
    expect(findUnknown(expression, series)).toEqual([fault]);
  });
});
