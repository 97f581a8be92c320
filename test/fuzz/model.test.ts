import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SCOPE_NAMES } from '../../src/auth/principal.ts';
import { createTestKey, startGuardedService } from '../support/auth.ts';
import { type Contract, openContract } from '../support/contract.ts';
import { call, type TestService } from '../support/service.ts';
import { playSequence, type Stage } from './play.ts';
import { FUZZ, FUZZ_TIMEOUT_MS, RERUN } from './settings.ts';
import { type Step, sequence, USERS } from './steps.ts';

let service: TestService;
let contract: Contract;

beforeAll(async () => {
  service = await startGuardedService({ LOG_LEVEL: 'warn', DATABASE_POOL_MAX: '10' });
  contract = await openContract(service);
});

afterAll(() => service.stop());

/** Sequences at once, each with callers of its own. */
const LANES = 16;
/** What is left of a sequence that fails: the calls that it takes, and hardly more. */
const SHRUNK_MAX = 4;
/** Sequences within which a fault of one kind of call shows. */
const TAMPERED_RUNS = 100;
/** Those who see everyone's notifications would see those of other lanes. */
const SCOPES = SCOPE_NAMES.filter((scope) => !['notifications:read:all', 'notifications:control'].includes(scope));

const send: Stage['send'] = (...request) => call(service, ...request);

/** Plays sequences one after the other, and shrinks the first that does not go as predicted. Returns how many it played. */
async function playLane(lane: number, numRuns: number, tampered: Partial<Stage> = {}): Promise<number> {
  const createKey = (name: string) => createTestKey(service.db, { name: `${name}-${lane}`, scopes: SCOPES });
  const keys: [string, string] = [await createKey('ada'), await createKey('bob')];
  let played = 0;
  const property = fc.asyncProperty(sequence, async (steps) => {
    played += 1;
    const base = (lane * 1_000_000 + played) * USERS;
    await playSequence({ send, judge: contract.judge, keys, base, ...tampered }, steps);
  });
  await fc.assert(property, { seed: FUZZ.seed + lane, numRuns });
  return played;
}

describe('any sequence of calls', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('is answered as a model of some maps predicts', async () => {
    const lanes = Array.from({ length: LANES }, (_, lane) => playLane(lane, Math.ceil(FUZZ.sequences / LANES)));
    const played = await Promise.all(lanes).catch((error: Error) => {
      throw new Error(`${RERUN}\n${error.message}`, { cause: error });
    });

    const sum = played.reduce((total, sequences) => total + sequences, 0);
    console.log(`model (seed ${FUZZ.seed}): ${sum} sequences, 0 mismatches`);
    expect(sum).toBeGreaterThanOrEqual(FUZZ.sequences);
  });

  it('is shrunk to the few calls that matter, when one is not answered as predicted', async () => {
    const forgetPhone: Stage['send'] = async (...request) => {
      const reply = await send(...request);
      const isUser = request[0] === 'PUT' && request[1].startsWith('/users/');
      return isUser ? { ...reply, body: { ...(reply.body as object), phone: null } } : reply;
    };

    const failure = await playLane(LANES, TAMPERED_RUNS, { send: forgetPhone }).catch((error: Error) => error);

    const shrunk = /Counterexample: \[(\[.*\])\]/.exec(String(failure))?.[1] ?? '[]';
    const calls = (JSON.parse(shrunk) as Step[]).map((step) => step.call);
    expect(calls).toContain('putUser');
    expect(calls.length).toBeLessThanOrEqual(SHRUNK_MAX);
  });

  it('is not as predicted, when a reply is not as the document says', async () => {
    const judge: Stage['judge'] = (method) => (method === 'DELETE' ? ['not documented'] : []);

    await expect(playLane(LANES + 1, TAMPERED_RUNS, { judge })).rejects.toThrow('Counterexample');
  });
});
