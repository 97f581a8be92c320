import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bearer, startGuardedService } from '../support/auth.ts';
import { type Contract, openContract } from '../support/contract.ts';
import { createRandom, pick } from '../support/random.ts';
import { call, type TestService } from '../support/service.ts';
import { countSockets, findHarm } from './aftermath.ts';
import { HANG_MS } from './connection.ts';
import { type RawOutcome, writeRaw } from './raw-connection.ts';
import { mutate } from './raw-mutations.ts';
import { listSequences, type Sequence } from './raw-sequences.ts';
import { FUZZ, FUZZ_TIMEOUT_MS, RERUN } from './settings.ts';

let service: TestService;
let key: string;
let contract: Contract;
let sockets: number;

beforeAll(async () => {
  const guarded = await startGuardedService({ LOG_LEVEL: 'warn' });
  service = guarded;
  key = guarded.key;
  contract = await openContract(service);
  sockets = countSockets();
});

afterAll(() => service.stop());

/** The user that a request inside another would store. */
const SMUGGLED = 999_999;
/** Connections at once: mostly they wait. */
const CONNECTIONS = 32;
/** Nothing more comes when nothing came for that long, on a busy machine too. */
const BOUNDS = { quietMs: 1_500, boundMs: HANG_MS };
/** A damaged request is often only half of one; there are thousands, and none needs a reply. */
const DAMAGED_QUIET_MS = 200;

const SEQUENCES_MIN = 40;
const PIPELINED = 50;

const putUser = (id: number) =>
  `PUT /users/${id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`;

/** What is wrong with what came back. */
function judge({ replies, rest, ended, ms }: RawOutcome): string[] {
  const faults = replies.flatMap((reply) => [
    ...(reply.status >= 500 ? [`status ${reply.status}`] : []),
    ...(reply.status >= 400 ? contract.judge('GET', '/', { ...reply }) : []),
  ]);
  if (!ended) faults.push(`still open after ${Math.round(ms)} ms`);
  // Between the two halves of a connection the end of a reply may be lost, but never be anything else.
  if (rest !== '' && !rest.startsWith('HTTP/1.1 ')) faults.push(`more than replies: ${rest.slice(0, 100)}`);
  return faults;
}

describe('a connection', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('ends with a sensible answer or none, whatever is written to it, and nothing is made of what is in it', async () => {
    const sequences = listSequences(key, putUser(SMUGGLED));
    const surprises: unknown[] = [];
    const tryOne = async ({ name, bytes, replies = 1, finish = 'wait' }: Sequence) => {
      const outcome = await writeRaw(service.url, [Buffer.from(bytes, 'latin1')], { finish, replies, ...BOUNDS });
      const faults = judge(outcome);
      // A request that is in order may be followed by one that is refused.
      if (outcome.replies.length > replies + 1) faults.push(`${outcome.replies.length} replies`);
      if (finish === 'wait' && outcome.replies.length === 0 && !SILENT.has(name)) faults.push('no reply');
      if (faults.length > 0) surprises.push({ name, faults, statuses: outcome.replies.map(({ status }) => status) });
      expect(await call(service, 'GET', '/health/live')).toMatchObject({ status: 200 });
    };

    await inParallel(sequences, tryOne);

    expect(sequences.length).toBeGreaterThanOrEqual(SEQUENCES_MIN);
    expect(surprises).toEqual([]);
    expect((await call(service, 'GET', `/users/${SMUGGLED}`, undefined, bearer(key))).status).toBe(404);
  });

  it('makes the request that must not be made, when it is sent in order', async () => {
    const bytes = Buffer.from(putUser(SMUGGLED + 1));

    await writeRaw(service.url, [bytes], BOUNDS);

    expect((await call(service, 'GET', `/users/${SMUGGLED + 1}`, undefined, bearer(key))).status).toBe(200);
  });

  it(`answers ${PIPELINED} requests that come at once in their order`, async () => {
    const ids = Array.from({ length: PIPELINED }, (_, index) => index + 1_000);
    const bytes = ids.map((id) => putUser(id).replace('Host: x', `Host: x\r\nX-Request-Id: r${id}`)).join('');

    const { replies, rest, ended } = await writeRaw(service.url, [Buffer.from(bytes)], {
      replies: PIPELINED,
      ...BOUNDS,
    });

    expect(replies.map(({ headers }) => headers.get('x-request-id'))).toEqual(ids.map((id) => `r${id}`));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([201]));
    expect([rest, ended]).toEqual(['', true]);
  });

  it('ends with a sensible answer or none when a request is damaged on its way', async () => {
    const random = createRandom(FUZZ.seed);
    const statuses: Record<string, number> = {};
    const surprises: unknown[] = [];
    const requests = Array.from({ length: FUZZ.raw }, () => mutate(pick(random, listRequests()), random));
    const tryOne = async (bytes: Buffer) => {
      const half = Math.floor(bytes.length / 2);
      const outcome = await writeRaw(service.url, [bytes.subarray(0, half), bytes.subarray(half)], {
        quietMs: DAMAGED_QUIET_MS,
        boundMs: HANG_MS,
      });
      for (const { status } of outcome.replies) statuses[status] = (statuses[status] ?? 0) + 1;
      if (outcome.replies.length === 0) statuses['none'] = (statuses['none'] ?? 0) + 1;
      const faults = judge(outcome);
      if (faults.length > 0)
        surprises.push({ faults, bytes: JSON.stringify(bytes.toString('latin1').replace(key, '')) });
    };

    await inParallel(requests, tryOne);

    console.log(`damaged (seed ${FUZZ.seed}): ${FUZZ.raw} requests, statuses ${JSON.stringify(statuses)}`);
    expect({ again: RERUN, surprises }).toEqual({ again: RERUN, surprises: [] });
  });

  it('leaves the service as it was', async () => {
    expect(await findHarm(service, sockets)).toEqual([]);
  });
});

/** Sequences that get no reply: a tunnel, or nothing whole was asked. */
const SILENT = new Set([
  ...['CONNECT', 'CONNECT of a path', 'nothing', 'an empty line', 'half a line', 'half of the headers', 'half a body'],
]);

function listRequests(): Buffer[] {
  const body = JSON.stringify({ payload: 'Hello', user_ids: [1, 2, 3] });
  const head = `Host: x\r\nAuthorization: Bearer ${key}\r\n`;
  const json = `${head}Content-Type: application/json\r\n`;
  return [
    `GET /users?limit=2 HTTP/1.1\r\n${head}\r\n`,
    `PUT /preferences/7 HTTP/1.1\r\n${json}Content-Length: 22\r\n\r\n{"email_enabled":true}`,
    `POST /notifications HTTP/1.1\r\n${json}Content-Length: ${body.length}\r\n\r\n${body}`,
    `PUT /users/7 HTTP/1.1\r\n${json}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
  ].map((request) => Buffer.from(request));
}

async function inParallel<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const left = [...items];
  const workNext = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, workNext));
}
