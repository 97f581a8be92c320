import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createReader, type Request } from './wire.ts';

/**
 * What becomes of a statement on its way to PostgreSQL. `keep` and `keepReply` are called when that is so: the statement has
 * not reached PostgreSQL, or PostgreSQL is done with it and whoever sent it does not know. That client hears nothing any more.
 */
export type Treatment = 'pass' | { keep: () => void } | { keepReply: () => void };

export type DatabaseProxy = {
  /** Like the one of the database behind it. */
  url: string;
  /** Decides about every statement from now on. */
  treat: (decide: (sql: string) => Treatment | Promise<Treatment>) => void;
  /** Every piece of data takes so much longer, each way. */
  delay: (ms: number) => void;
  /** Lets nothing through, neither data nor the end of a connection, until it is called with false. */
  blackHole: (isOn: boolean) => void;
  /** Resets every connection. */
  reset: () => void;
  stop: () => Promise<void>;
};

type State = {
  decide: (sql: string) => Treatment | Promise<Treatment>;
  delayMs: number;
  /** Resolves when there is a way through. */
  open: Promise<void>;
};

/** A TCP proxy in front of PostgreSQL, with faults on demand. The caller stops it. */
export async function startProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const target = new URL(databaseUrl);
  const state: State = { decide: () => 'pass', delayMs: 0, open: Promise.resolve() };
  let openUp = () => {};
  const sockets = new Set<Socket>();
  const track = (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Either side may vanish: the loops that read notice.
    socket.on('error', () => undefined);
    return socket;
  };
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = track(connect({ port: Number(target.port), host: target.hostname, noDelay: true }));
    relay(track(client), upstream, state);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(databaseUrl);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    treat: (decide) => Object.assign(state, { decide }),
    delay: (delayMs) => Object.assign(state, { delayMs }),
    blackHole: (isOn) => {
      openUp();
      if (isOn) state.open = new Promise((resolve) => (openUp = resolve));
    },
    reset: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    stop: async () => {
      openUp();
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function relay(client: Socket, upstream: Socket, state: State): void {
  /** Called with every piece of PostgreSQL's answer instead of the client. */
  let keepReply: ((reply: Buffer) => void) | null = null;
  const read = createReader();
  const ask = async (request: Request) => {
    const treatment = request.sql === '' ? 'pass' : await state.decide(request.sql);
    if (treatment !== 'pass' && 'keep' in treatment) {
      treatment.keep();
      // Neither this nor what may follow is passed on.
      await new Promise(() => undefined);
    }
    if (treatment !== 'pass' && 'keepReply' in treatment) keepReply = whenReady(treatment.keepReply);
    upstream.write(request.bytes);
  };
  void carry(client, upstream, state, async (chunk) => {
    for (const request of read(chunk)) await ask(request);
  });
  void carry(upstream, client, state, async (chunk) => {
    if (keepReply === null) client.write(chunk);
    else keepReply(chunk);
  });
}

/** What PostgreSQL says when it is done and in no transaction ("ReadyForQuery"). */
const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');

function whenReady(act: () => void): (reply: Buffer) => void {
  let isDone = false;
  return (reply) => {
    if (isDone || !reply.subarray(-READY.length).equals(READY)) return;
    isDone = true;
    act();
  };
}

async function carry(from: Socket, to: Socket, state: State, pass: (chunk: Buffer) => Promise<unknown>): Promise<void> {
  try {
    for await (const chunk of from) {
      if (state.delayMs > 0) await sleep(state.delayMs);
      await state.open;
      await pass(chunk as Buffer);
    }
  } catch {
    // It was reset.
  }
  await state.open;
  to.destroy();
}
