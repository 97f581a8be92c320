import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type Answer, readEntries, renderError, renderResult, type SinkEntry } from '../support/sink.ts';
import type { Delivery } from './checker.ts';

/** A Publish or PublishBatch. */
type Call = {
  /** The first is number 1. */
  number: number;
  /** Which process it came from. */
  instance: string;
  /** In ms of `performance.now()`. */
  at: number;
  /** When it was answered, or given up by whoever made it; null while neither. */
  endedAt: number | null;
  isAnswered: boolean;
  messages: number;
};

/** What one message says to one user, and when it came. `claimed_at` is when its page was claimed, by the database's clock. */
export type Entry = Delivery & Pick<Call, 'instance' | 'at'> & { call: number; claimed_at: string };

/** A call and what it carries. */
export type Incoming = Call & { entries: SinkEntry[] };

/** What becomes of a call: see `Answer`. `attend` comes first, and ends in what is done. */
export type Plan = Answer;

export type Oracle = {
  calls: Call[];
  /** Every attempt at every user, in the order of arrival; those with a `message_id` were accepted. */
  journal: Entry[];
  /** Connections that were refused, each as it came. */
  refused: Pick<Call, 'instance' | 'at'>[];
  /** Decides about every call from now on. */
  plan: (decide: (call: Incoming) => Plan | Promise<Plan>) => void;
  /** Resets every connection as soon as it is made, while `isDown`. */
  goDown: (isDown: boolean) => void;
  /** The URL for one process, by which its calls are known. */
  open: (instance: string) => Promise<string>;
  stop: () => Promise<void>;
};

/**
 * SNS that never fails by itself, and by every fault that is asked for. It runs in the process of the test, which nobody
 * kills, and keeps what it accepted in a journal. The caller stops it.
 */
export function createOracle(): Oracle {
  let decide: Parameters<Oracle['plan']>[0] = () => ({});
  let isDown = false;
  const servers = new Map<string, Server>();
  const state = { calls: [] as Call[], journal: [] as Entry[], refused: [] as Oracle['refused'] };
  const receive = async (instance: string, request: IncomingMessage, response: ServerResponse) => {
    const at = performance.now();
    const form = new URLSearchParams(await text(request).catch(() => ''));
    const action = form.get('Action') ?? '';
    const entries = action === 'PublishBatch' ? readEntries(form) : [];
    const call: Call = { number: state.calls.length + 1, instance, at, endedAt: null, isAnswered: false, messages: 0 };
    call.messages = entries.length;
    response.once('close', () =>
      Object.assign(call, { endedAt: performance.now(), isAnswered: response.writableEnded }),
    );
    if (entries.length > 0) state.calls.push(call);
    const plan = await decide({ ...call, entries });
    // Whoever has hung up by then has not been served.
    if (!response.destroyed) await answer(response, { action, call, entries, plan, journal: state.journal });
  };
  const listen = async (instance: string) => {
    const server = createServer((request, response) => void receive(instance, request, response));
    server.on('connection', (socket) => {
      if (!isDown) return;
      state.refused.push({ instance, at: performance.now() });
      socket.resetAndDestroy();
    });
    servers.set(instance, server.listen(0, '127.0.0.1'));
    await once(server, 'listening');
    return server;
  };
  return {
    ...state,
    plan: (next) => {
      decide = next;
    },
    goDown: (next) => {
      isDown = next;
      if (isDown) for (const server of servers.values()) server.closeAllConnections();
    },
    open: async (instance) => {
      const server = servers.get(instance) ?? (await listen(instance));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    stop: async () => {
      for (const server of servers.values()) {
        server.close();
        server.closeAllConnections();
      }
    },
  };
}

type Work = { action: string; call: Call; entries: SinkEntry[]; plan: Plan; journal: Entry[] };

async function answer(response: ServerResponse, { action, call, entries, plan, journal }: Work): Promise<void> {
  const { refuse, fail, connection, replyAfter } = plan;
  const accepted: Parameters<typeof renderResult>[2] = [];
  const isTaken = refuse === undefined && connection !== 'hang' && connection !== 'drop';
  const result = isTaken ? renderResult(entries, fail, accepted) : '';
  const ids = new Map(accepted.map(({ id, messageId }) => [id, messageId]));
  for (const entry of entries) journal.push(...readDeliveries(entry, call, ids.get(entry.id) ?? null));
  if (connection === 'hang') return;
  if (connection === 'drop') return void response.destroy();
  if (entries.length > 0) await replyAfter;
  if (connection === 'lose') return void response.destroy();
  response.writeHead(refuse?.status ?? 200, { 'content-type': 'text/xml' });
  response.end(refuse ? renderError(refuse) : action === 'PublishBatch' ? result : TOPIC_ATTRIBUTES);
}

const TOPIC_ATTRIBUTES =
  '<GetTopicAttributesResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><GetTopicAttributesResult><Attributes/>' +
  '</GetTopicAttributesResult></GetTopicAttributesResponse>';

type Recipient = { user_id: number; email?: string; sms?: string };

type Body = {
  time: string;
  data: { notification_id: string; recipients: Recipient[] };
};

function readDeliveries(entry: SinkEntry, call: Call, message_id: string | null): Entry[] {
  const { time, data } = JSON.parse(entry.body) as Body;
  const { notification_id } = data;
  const origin = { instance: call.instance, at: call.at, call: call.number, claimed_at: time };
  return data.recipients.map(({ user_id, ...addresses }) => ({
    ...{ notification_id, user_id, told: describeTold(addresses, entry.attributes), message_id },
    ...origin,
  }));
}

/** Attributes and addresses have to speak of the same channels; when they do not, it is like nothing that is expected. */
function describeTold(addresses: Record<string, string>, attributes: Record<string, string>): string {
  const channels = Object.keys(addresses).toSorted();
  const told = channels.map((channel) => `${channel}=${addresses[channel]}`).join(' ');
  const marked = Object.keys(attributes)
    .filter((name) => name !== 'traceparent')
    .toSorted()
    .join(' ');
  return marked === channels.join(' ') ? told : `${told}, marked ${marked}`;
}
