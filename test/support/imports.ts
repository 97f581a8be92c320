import { once } from 'node:events';
import { type ClientRequest, request } from 'node:http';
import { call, type Reply } from './service.ts';

export const NDJSON = { 'content-type': 'application/x-ndjson' };

export type Kind = 'users' | 'preferences';

/** The text of a body: an object a line. */
export const toLines = (objects: object[]) => objects.map((object) => `${JSON.stringify(object)}\n`).join('');

/** Imports a body, sent as it is. */
export function importLines(
  service: { url: string },
  kind: Kind,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<Reply> {
  return call(service, 'POST', `/${kind}/import`, body, { ...NDJSON, ...headers });
}

/** What an import answered, which was not refused. */
export type Result = {
  lines: number;
  stored: number;
  rejected: number;
  rejections: { line: number; reason: string }[];
};

/** An import whose body the test writes piece by piece. `answer` resolves to what is answered; it rejects when nothing is. */
export type OpenImport = {
  sending: ClientRequest;
  answer: Promise<{ status: number; headers: object; body: unknown }>;
};

export function openImport({ url }: { url: string }, kind: Kind): OpenImport {
  const sending = request(`${url}/${kind}/import`, { method: 'POST', headers: NDJSON });
  // After the answer, the service may cut the connection.
  sending.on('error', () => undefined);
  sending.flushHeaders();
  const answer = readAnswer(sending);
  // A test that hangs up waits for no answer.
  answer.catch(() => undefined);
  return { sending, answer };
}

async function readAnswer(sending: ClientRequest) {
  const [response] = await once(sending, 'response');
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, headers: response.headers, body: JSON.parse(text) };
}
