/** Load on an HTTP server, from a process of its own. As cheap as it gets, since it shares the machine with the server. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { answerCalls } from './child.ts';

/** What is sent again and again. `status` is what every answer has to have. */
export type LoadRequest = { method: string; path: string; body?: object; status: number };

const handlers = {
  /** Keeps so many connections busy for a time. Returns the answers per second. `path` may have `:user_id`, from 1 to `users`. */
  async run(url: string, request: LoadRequest, load: { connections: number; seconds: number; users: number }) {
    const bytes = renderRequests(url, request, load.users);
    const sockets = await Promise.all(Array.from({ length: load.connections }, () => open(url)));
    const begin = performance.now();
    const end = begin + load.seconds * 1_000;
    let answers = 0;
    const loop = async (socket: Socket, index: number) => {
      for (let next = index; performance.now() < end; next += load.connections) {
        await exchange(socket, bytes[next % bytes.length] ?? '', request.status);
        answers += 1;
      }
    };
    await Promise.all(sockets.map(loop));
    const seconds = (performance.now() - begin) / 1_000;
    for (const socket of sockets) socket.destroy();
    return answers / seconds;
  },
  /** Sends requests in turn over one connection, so many of each. Returns how long each answer took, in ms, by request. */
  async alternate(url: string, requests: LoadRequest[], count: number) {
    const socket = await open(url);
    const all = requests.map((request) => ({ request, text: render(url, request, 1), latencies: [] as number[] }));
    for (let round = 0; round < count; round++) {
      for (const { request, text, latencies } of all) {
        const begin = performance.now();
        await exchange(socket, text, request.status);
        latencies.push(performance.now() - begin);
      }
    }
    socket.destroy();
    return all.map(({ latencies }) => latencies);
  },
};
export type LoadHandlers = typeof handlers;

answerCalls(handlers);

/** A thousand different ones are enough to keep any cache of single rows from helping. */
const DIFFERENT_MAX = 1_000;

function renderRequests(url: string, request: LoadRequest, users: number): string[] {
  const count = Math.min(users, DIFFERENT_MAX);
  return Array.from({ length: count }, (_, n) => render(url, request, Math.floor((n * users) / count) + 1));
}

function render(url: string, { method, path, body }: LoadRequest, userId: number): string {
  const content = body === undefined ? '' : JSON.stringify(body);
  const head = `${method} ${path.replace(':user_id', String(userId))} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n`;
  const type = `Content-Type: application/json\r\nContent-Length: ${content.length}\r\n`;
  return `${head}${body === undefined ? '' : type}\r\n${content}`;
}

async function open(url: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.setNoDelay(true).setEncoding('latin1');
  await once(socket, 'connect');
  return socket;
}

/** Sends a request and waits until its answer is whole. */
function exchange(socket: Socket, request: string, status: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const leave = () => socket.off('data', read).off('close', fail);
    const fail = () => {
      leave();
      reject(new Error(`${request}\nwas answered with\n${answer}`));
    };
    const read = (text: string) => {
      answer += text;
      const head = answer.indexOf('\r\n\r\n');
      const [, length] = /\r\ncontent-length: (\d+)/i.exec(answer) ?? [];
      if (head < 0 || answer.length < head + 4 + Number(length ?? 0)) return;
      if (!answer.startsWith(`HTTP/1.1 ${status} `)) return fail();
      leave();
      resolve();
    };
    socket.on('data', read).on('close', fail);
    socket.write(request);
  });
}
