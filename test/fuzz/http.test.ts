import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGuardedService } from '../support/auth.ts';
import { type Contract, type Document, openContract } from '../support/contract.ts';
import { createRandom } from '../support/random.ts';
import { call, type Reply, type TestService } from '../support/service.ts';
import { countSockets, findHarm } from './aftermath.ts';
import { learn, type Source } from './base.ts';
import { describeCampaign, isImportTooMany, runCampaign } from './campaign.ts';
import { listOperations, type Operation } from './document.ts';
import { createMalformedInputs } from './malformed-inputs.ts';
import type { Input } from './request.ts';
import { createRequestJudge } from './request-judge.ts';
import { FUZZ, FUZZ_TIMEOUT_MS, RERUN } from './settings.ts';
import { createValidInputs } from './valid-inputs.ts';

let service: TestService;
let contract: Contract;
let document: Document;
let operations: Operation[];
let source: Source;
let sockets: number;

beforeAll(async () => {
  const guarded = await startGuardedService({ LOG_LEVEL: 'warn', DATABASE_POOL_MAX: '10' });
  service = guarded;
  contract = await openContract(service);
  document = (await call(service, 'GET', '/openapi.json')).body as Document;
  operations = listOperations(document);
  source = { random: createRandom(FUZZ.seed), known: { ids: [] }, key: guarded.key };
  sockets = countSockets();
});

afterAll(() => service.stop());

/** Refusals of a valid request that the state of the service explains. */
const EXPLAINED = new Set([
  ...['preference_not_found', 'user_not_found', 'notification_not_found', 'preference_exists', 'illegal_transition'],
]);

/** Judges the replies to valid requests. `uses` counts the idempotency keys of all that were sent so far. */
function createJudge(uses: Map<string, number>): (input: Input, reply: Reply) => string[] {
  return (input, reply) => {
    const { headers, body } = input;
    learn(source.known, reply.headers.get('location'));
    const reused = (uses.get(headers['idempotency-key'] ?? '') ?? 0) > 1;
    const { code = '' } = (typeof reply.body === 'object' ? reply.body : {}) as { code?: string };
    const explained =
      EXPLAINED.has(code) ||
      isImportTooMany(input, reply) ||
      (code === 'idempotency_key_reused' && reused) ||
      (code === 'audience_mismatch' && body?.includes('"expected_recipients"') === true);
    return reply.status < 300 || explained ? [] : ['a valid request is refused'];
  };
}

describe('the service', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('accepts what its document allows', async () => {
    const draw = createValidInputs(operations, source, FUZZ.seed);
    const uses = new Map<string, number>();
    const next = () => {
      const input = draw();
      const key = input.headers['idempotency-key'] ?? '';
      uses.set(key, (uses.get(key) ?? 0) + 1);
      return input;
    };

    const campaign = await runCampaign({ service, contract, inputs: FUZZ.valid, next, judge: createJudge(uses) });

    console.log(describeCampaign(`valid (seed ${FUZZ.seed})`, campaign));
    const successes = [...campaign.routes].filter(([, { statuses }]) => [...statuses.keys()].some((s) => s < 300));
    expect({ again: RERUN, findings: campaign.findings }).toEqual({ again: RERUN, findings: [] });
    expect(successes.map(([route]) => route).toSorted()).toEqual(operations.map(({ route }) => route).toSorted());
  });

  it('answers whatever else it is sent as its document says', async () => {
    const next = createMalformedInputs(operations, source, FUZZ.seed);
    const judgeGrant = createRequestJudge(document);
    const judge = (input: Input, reply: Reply) => {
      learn(source.known, reply.headers.get('location'));
      return judgeGrant(input, reply);
    };

    const campaign = await runCampaign({ service, contract, inputs: FUZZ.malformed, next, judge });

    console.log(describeCampaign(`malformed (seed ${FUZZ.seed})`, campaign));
    expect({ again: RERUN, findings: campaign.findings }).toEqual({ again: RERUN, findings: [] });
    expect([campaign.serverErrors, campaign.hangs, campaign.undocumented]).toEqual([0, 0, 0]);
  });

  it('is as it was afterwards', async () => {
    expect(await findHarm(service, sockets)).toEqual([]);
  });
});
