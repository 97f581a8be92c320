import type { Contract } from '../support/contract.ts';
import type { Reply } from '../support/service.ts';
import { HANG_MS, openConnection } from './connection.ts';
import { type Input, toRequest } from './request.ts';

/** Requests under way at once. */
const CONNECTIONS = 16;
/** Findings that are told; each fault once for each route. */
const FINDINGS_MAX = 20;

/** What came of all inputs. */
export type Campaign = {
  inputs: number;
  seconds: number;
  /** By route: how many inputs, and how many replies of each status. */
  routes: Map<string, { inputs: number; statuses: Map<number, number> }>;
  serverErrors: number;
  hangs: number;
  /** Replies that are not as the document says. */
  undocumented: number;
  /** The first of what was wrong, each with the bytes to have it again. */
  findings: Finding[];
};

type Finding = { route: string; kind: string; faults: string[]; request: string; reply: string };

export type CampaignOptions = {
  service: { url: string };
  contract: Pick<Contract, 'judge'>;
  inputs: number;
  next: () => Input;
  /** What else is wrong with a reply; it may also learn from it. */
  judge?: (input: Input, reply: Reply) => string[];
};

/** Sends inputs one after the other over several connections, and judges every reply. */
export async function runCampaign(options: CampaignOptions): Promise<Campaign> {
  const start = performance.now();
  const campaign: Campaign = {
    ...{ inputs: 0, seconds: 0, routes: new Map(), serverErrors: 0, hangs: 0, undocumented: 0, findings: [] },
  };
  const work = async () => {
    const connection = openConnection(options.service.url);
    while (campaign.inputs < options.inputs) {
      campaign.inputs += 1;
      const input = options.next();
      const answer = await connection.send(toRequest(input), { head: input.method === 'HEAD' });
      record(campaign, options, input, answer);
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, work));
  return { ...campaign, seconds: (performance.now() - start) / 1000 };
}

function record(
  campaign: Campaign,
  { contract, judge = () => [] }: CampaignOptions,
  input: Input,
  { reply, hung }: { reply: Reply | null; hung: boolean },
): void {
  const route = campaign.routes.get(input.route) ?? { inputs: 0, statuses: new Map<number, number>() };
  campaign.routes.set(input.route, route);
  route.inputs += 1;
  if (hung) campaign.hangs += 1;
  const faults = hung ? [`no reply within ${HANG_MS} ms`] : [];
  if (reply === null) {
    if (!hung) faults.push('closed without a reply');
  } else {
    route.statuses.set(reply.status, (route.statuses.get(reply.status) ?? 0) + 1);
    const undocumented = contract.judge(input.method, input.target, reply);
    if (undocumented.length > 0) campaign.undocumented += 1;
    const isServerError = reply.status >= 500 && !isImportTooMany(input, reply);
    if (isServerError) campaign.serverErrors += 1;
    faults.push(...undocumented, ...(isServerError ? [`status ${reply.status}`] : []), ...judge(input, reply));
  }
  const known = campaign.findings.some(
    (finding) => finding.route === input.route && finding.faults.join() === faults.join(),
  );
  if (faults.length > 0 && !known && campaign.findings.length < FINDINGS_MAX) {
    campaign.findings.push(describeFinding(input, faults, reply));
  }
}

/** Of imports a process takes two at a time, and the connections make more. */
export function isImportTooMany({ route }: Input, { status, body }: Reply): boolean {
  return route.endsWith('/import') && status === 503 && (body as { code: string }).code === 'overloaded';
}

function describeFinding(input: Input, faults: string[], reply: Reply | null): Finding {
  const request = JSON.stringify(
    toRequest(input)
      .toString('latin1')
      .replace(/nk_[\w-]+/, 'nk_…')
      .slice(0, 600),
  );
  return {
    route: input.route,
    kind: input.kind,
    faults,
    request,
    reply: reply === null ? '' : `${reply.status} ${reply.text.slice(0, 400)}`,
  };
}

/** The table of what was tried and seen. */
export function describeCampaign(name: string, campaign: Campaign): string {
  const { inputs, seconds, routes, serverErrors, hangs, undocumented } = campaign;
  const lines = [...routes]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([route, seen]) => {
      const statuses = [...seen.statuses].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status}×${count}`);
      return `  ${route.padEnd(36)} ${String(seen.inputs).padStart(7)}  ${statuses.join(' ')}`;
    });
  const sums = `${inputs} inputs in ${seconds.toFixed(1)} s: ${serverErrors} × 5xx, ${hangs} hangs, ${undocumented} replies that differ from the document`;
  return [`${name}: ${sums}`, ...lines].join('\n');
}
