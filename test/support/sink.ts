import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { SNSClient } from '@aws-sdk/client-sns';
import { onTestFinished } from 'vitest';

/** One entry of a PublishBatch. `bytes` is what SNS counts: the body, and name, type and value of each attribute. */
export type SinkEntry = {
  id: string;
  body: string;
  attributes: Record<string, string>;
  groupId: string | null;
  bytes: number;
};

/** A PublishBatch as it came in; the first is number 1. */
export type SinkCall = { number: number; entries: SinkEntry[]; bytes: number };

/** What the sink does with a call. Without anything: it accepts every entry and says so. */
export type Answer = {
  /** Refuses the call as a whole. */
  refuse?: { status: number; code: string; message?: string };
  /** Fails single entries and accepts the others. */
  fail?: (entry: SinkEntry) => { code: string; reason?: string; senderFault: boolean } | undefined;
  /** `drop` closes the connection without accepting, `lose` after accepting; `hang` neither accepts nor answers. */
  connection?: 'drop' | 'lose' | 'hang';
  /** The reply waits for this; what is accepted is accepted before. */
  replyAfter?: Promise<unknown>;
};

export type Sink = {
  /** Every call, whatever became of it. */
  calls: SinkCall[];
  /** Every entry that was accepted, with the MessageId it got. */
  accepted: (SinkEntry & { messageId: string })[];
  /** Decides about every call from now on. */
  answer: (plan: (call: SinkCall) => Answer) => void;
  /** Accepts every call from now on, and answers none until what this returns is called. */
  holdReplies: () => () => void;
  /** An SNS client that talks to this sink, and does not retry by itself. It gives up after `timeoutMs` without a reply. */
  connect: (timeoutMs?: number) => SNSClient;
};

/** The SNS quotas of a PublishBatch. */
const ENTRIES_MAX = 10;
const BYTES_MAX = 262_144;

/**
 * SNS with faults on demand, for what an emulator cannot do: it speaks PublishBatch in the query protocol over HTTP, as the
 * AWS SDK does, and keeps a journal. It and its clients go with the test.
 */
export async function startSink(): Promise<Sink> {
  let plan: (call: SinkCall) => Answer = () => ({});
  const calls: SinkCall[] = [];
  const accepted: Sink['accepted'] = [];
  const receive = async (request: IncomingMessage, response: ServerResponse) => {
    const form = await text(request).catch(() => null);
    // The client hung up in the middle of its call.
    if (form === null) return;
    const entries = readEntries(new URLSearchParams(form));
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    const call = { number: calls.length + 1, entries, bytes };
    calls.push(call);
    await reply(response, call, { ...plan(call), ...findQuotaFault(call) }, accepted);
  };
  const server = createServer((request, response) => void receive(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });

  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const answer = (next: typeof plan) => {
    plan = next;
  };
  const holdReplies = () => {
    const held = new EventEmitter();
    const replyAfter = once(held, 'release');
    answer(() => ({ replyAfter }));
    return () => {
      held.emit('release');
      answer(() => ({}));
    };
  };
  return { calls, accepted, answer, holdReplies, connect: (timeoutMs) => connect(url, timeoutMs) };
}

function connect(endpoint: string, timeoutMs = 10_000): SNSClient {
  const requestHandler = { requestTimeout: timeoutMs, throwOnRequestTimeout: true };
  const sns = new SNSClient({ endpoint, maxAttempts: 1, requestHandler });
  onTestFinished(() => sns.destroy());
  return sns;
}

/** The entries of a PublishBatch in the query protocol. */
export function readEntries(form: URLSearchParams): SinkEntry[] {
  const entries: SinkEntry[] = [];
  for (let index = 1; form.has(`PublishBatchRequestEntries.member.${index}.Id`); index++) {
    entries.push(readEntry(form, `PublishBatchRequestEntries.member.${index}`));
  }
  return entries;
}

function readEntry(form: URLSearchParams, prefix: string): SinkEntry {
  const body = form.get(`${prefix}.Message`) ?? '';
  const attributes: Record<string, string> = {};
  let bytes = Buffer.byteLength(body);
  for (let index = 1; form.has(`${prefix}.MessageAttributes.entry.${index}.Name`); index++) {
    const read = (field: string) => form.get(`${prefix}.MessageAttributes.entry.${index}.${field}`) ?? '';
    attributes[read('Name')] = read('Value.StringValue');
    bytes += Buffer.byteLength(read('Name') + read('Value.DataType') + read('Value.StringValue'));
  }
  return { id: form.get(`${prefix}.Id`) ?? '', body, attributes, groupId: form.get(`${prefix}.MessageGroupId`), bytes };
}

function findQuotaFault({ entries, bytes }: SinkCall): Answer {
  if (entries.length > ENTRIES_MAX) return { refuse: { status: 400, code: 'TooManyEntriesInBatchRequest' } };
  return bytes > BYTES_MAX ? { refuse: { status: 400, code: 'BatchRequestTooLong' } } : {};
}

async function reply(response: ServerResponse, call: SinkCall, answer: Answer, accepted: Sink['accepted']) {
  const { refuse, fail, connection, replyAfter } = answer;
  if (connection === 'hang') return;
  if (connection === 'drop') return response.destroy();
  const result = refuse ? renderError(refuse) : renderResult(call.entries, fail, accepted);
  await replyAfter;
  if (connection === 'lose') return response.destroy();
  return response.writeHead(refuse?.status ?? 200, { 'content-type': 'text/xml' }).end(result);
}

const NAMESPACE = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"';

/** Accepts the entries that do not fail, and says what became of each. */
export function renderResult(entries: SinkEntry[], fail: Answer['fail'], accepted: Sink['accepted']): string {
  let [successful, failed] = ['', ''];
  for (const entry of entries) {
    const fault = fail?.(entry);
    if (fault === undefined) {
      const messageId = randomUUID();
      accepted.push({ ...entry, messageId });
      successful += `<member><Id>${entry.id}</Id><MessageId>${messageId}</MessageId></member>`;
    } else {
      const { code, reason = code, senderFault } = fault;
      const why = `<Code>${code}</Code><Message>${reason}</Message><SenderFault>${senderFault}</SenderFault>`;
      failed += `<member><Id>${entry.id}</Id>${why}</member>`;
    }
  }
  const result = `<Successful>${successful}</Successful><Failed>${failed}</Failed>`;
  return `<PublishBatchResponse ${NAMESPACE}><PublishBatchResult>${result}</PublishBatchResult></PublishBatchResponse>`;
}

/** An error as the query protocol has it. */
export function renderError({ status, code, message = code }: NonNullable<Answer['refuse']>): string {
  const type = status < 500 ? 'Sender' : 'Receiver';
  const error = `<Type>${type}</Type><Code>${code}</Code><Message>${message}</Message>`;
  return `<ErrorResponse ${NAMESPACE}><Error>${error}</Error><RequestId>${randomUUID()}</RequestId></ErrorResponse>`;
}
