import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { type RunningProcess, startProcess } from './process.ts';

type Options = { key?: string; columns?: number };

/** Starts `npm run notify` against a service, without a terminal unless `columns` says how wide it is. */
export function startNotify({ url }: { url: string }, args: string[], { key, columns }: Options = {}): RunningProcess {
  const notify = startProcess('notify.js', {
    ...{ cwd: tmpdir(), args: [...args, '--url', url] },
    env: key === undefined ? {} : { API_KEY: key },
    ...(columns !== undefined && { columns }),
  });
  onTestFinished(() => void notify.kill('SIGKILL'));
  return notify;
}

/** Runs it to its end. */
export async function runNotify(service: { url: string }, args: string[], options?: Options) {
  const { exited, output } = startNotify(service, args, options);
  const { code } = await exited;
  return { code, ...output };
}

/** A request as the scripted service got it. */
export type Asked = { path: string; headers: IncomingMessage['headers']; body: unknown };

/** How the scripted service answers: the nth request to a path, from 1 on. */
export type Script = (response: ServerResponse, asked: Asked, nth: number) => void;

/** An HTTP server that answers as a test says, in the place of the service. It goes with the test. */
export async function startScripted(scripts: Record<string, Script>): Promise<{ url: string; asked: Asked[] }> {
  const asked: Asked[] = [];
  const receive = async (request: IncomingMessage, response: ServerResponse) => {
    const { url: path = '', headers } = request;
    const body = await text(request);
    const next = { path, headers, body: body === '' ? null : JSON.parse(body) };
    asked.push(next);
    const nth = asked.filter((earlier) => earlier.path === path).length;
    const script = scripts[path] ?? ((reply: ServerResponse) => reply.writeHead(404).end());
    script(response, next, nth);
  };
  const server = createServer((request, response) => void receive(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

/** Answers with JSON. */
export function answer(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** A service behind a line that can be cut and mended. The line goes with the test. */
export async function startLine(service: { url: string }): Promise<{ url: string; cut: () => void; mend: () => void }> {
  const sockets = new Set<Socket>();
  let broken = false;
  const server = createTcpServer((near) => {
    if (broken) return void near.resetAndDestroy();
    const far = connect(Number(new URL(service.url).port), '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      // Cut on one side, it breaks on the other.
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    broken = true;
    for (const socket of sockets) socket.destroy();
  };
  const mend = () => {
    broken = false;
  };
  onTestFinished(() => {
    server.close();
    cut();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, cut, mend };
}
