import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startGuardedService } from '../support/auth.ts';
import { createContract, type Document } from '../support/contract.ts';
import { call, type TestService } from '../support/service.ts';
import { type Campaign, runCampaign } from './campaign.ts';
import type { Input } from './request.ts';
import { createRequestJudge } from './request-judge.ts';

let service: TestService & { key: string };
let document: Document;

beforeAll(async () => {
  service = await startGuardedService();
  document = (await call(service, 'GET', '/openapi.json')).body as Document;
});

afterAll(() => service.stop());

const INPUTS = 20;

/** Sends one request several times to a service, and judges the replies by a document. */
function tryOut(url: string, judgedBy: Document, inputs = INPUTS): Promise<Campaign> {
  const headers = { authorization: `Bearer ${service.key}` };
  const input: Input = {
    route: 'GET /users/{user_id}',
    kind: 'base',
    method: 'GET',
    target: '/users/1',
    headers,
    body: null,
  };
  const contract = createContract({ url }, judgedBy);
  return runCampaign({ service: { url }, contract, inputs, next: () => input });
}

/** A service that answers whatever the listener says. */
async function startFake(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const problem = (status: number, id: string) =>
  JSON.stringify({
    ...{ type: 'about:blank', title: 'Not Found', status, detail: 'No user has this id.' },
    ...{ instance: `/requests/${id}`, code: 'user_not_found' },
  });

const REPLY_HEADERS = { 'content-type': 'application/problem+json', 'x-request-id': 'r1' };

describe('the fuzzer', () => {
  it('finds nothing wrong with the service as it is', async () => {
    const campaign = await tryOut(service.url, document);

    expect(campaign.findings).toEqual([]);
    expect(campaign.routes.get('GET /users/{user_id}')).toEqual({ inputs: INPUTS, statuses: new Map([[404, INPUTS]]) });
  });

  it('finds a status that the document does not have', async () => {
    const tampered = structuredClone(document);
    delete tampered.paths['/users/{user_id}']?.['get']?.responses['404'];

    const campaign = await tryOut(service.url, tampered);

    expect(campaign.undocumented).toBe(INPUTS);
    expect(campaign.findings).toMatchObject([{ faults: ['not a documented answer of /users/{user_id}'] }]);
  });

  it('finds a body that is not as the document says', async () => {
    const tampered = JSON.parse(JSON.stringify(document).replaceAll('"user_not_found"', '"no_such_user"')) as Document;

    const campaign = await tryOut(service.url, tampered);

    expect(campaign.undocumented).toBe(INPUTS);
  });

  it.each([
    ['a reply of status 500', { status: 500, headers: REPLY_HEADERS, body: problem(500, 'r1') }],
    [
      'a reply without a request id',
      { status: 404, headers: { 'content-type': 'application/problem+json' }, body: problem(404, 'r1') },
    ],
    ['a problem of another request', { status: 404, headers: REPLY_HEADERS, body: problem(404, 'r2') }],
    ['a problem of another status', { status: 404, headers: REPLY_HEADERS, body: problem(400, 'r1') }],
    [
      'another media type',
      { status: 404, headers: { ...REPLY_HEADERS, 'content-type': 'text/plain' }, body: 'Not Found' },
    ],
    [
      'a body that tells of our insides',
      { status: 404, headers: REPLY_HEADERS, body: problem(404, 'r1').replace('No user', 'Prisma') },
    ],
  ])('finds %s', async (_, { status, headers, body }) => {
    const url = await startFake((_request, response) => void response.writeHead(status, headers).end(body));

    const campaign = await tryOut(url, document);

    expect(campaign.undocumented + campaign.serverErrors).toBeGreaterThanOrEqual(INPUTS);
    expect(campaign.findings).not.toEqual([]);
  });

  it('finds a request granted that the document does not allow', async () => {
    const judge = createRequestJudge(document);
    const reply = await call(service, 'GET', '/health/live');
    const put = { route: 'PUT /users/{user_id}', kind: 'base', method: 'PUT', target: '/users/1', headers: {} };
    const bodies = ['{}', '{"email":null}', '{"email":"x"}', '{"name":1}', '[]', '{', '', '"\x80"'];

    const faults = bodies.map((body) => judge({ ...put, body: Buffer.from(body, 'latin1') }, reply).length);

    expect(faults).toEqual([0, 0, 1, 1, 1, 1, 1, 1]);
  });

  it('finds a connection that is closed without a reply', async () => {
    const url = await startFake((request) => void request.socket.destroy());

    const campaign = await tryOut(url, document);

    expect(campaign.findings).toMatchObject([{ faults: ['closed without a reply'] }]);
  });

  it('finds a reply that does not come', async () => {
    const url = await startFake(() => undefined);

    const campaign = await tryOut(url, document, 1);

    expect(campaign.hangs).toBe(1);
  });
});
