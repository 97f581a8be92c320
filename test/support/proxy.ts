import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/**
 * `pass`: what comes goes on. `hole`: connections are accepted and nothing is said, and those open fall silent for good, as
 * behind a firewall that has forgotten them. `reset`: they are cut, and so is every new one.
 */
type Behaviour = 'pass' | 'hole' | 'reset';

export type Proxy = { port: number; behave: (next: Behaviour) => void };

/** A way to a TCP server that can be broken. It goes with the test, and passes until it is told otherwise. */
export async function startProxy(target: { host: string; port: number }): Promise<Proxy> {
  let behaviour: Behaviour = 'pass';
  const links = new Set<{ ends: Socket[]; isSilent: boolean }>();
  const cut = ({ ends }: { ends: Socket[] }) => {
    for (const end of ends) end.destroy();
  };
  const server = createServer((near) => {
    const far = connect(target.port, target.host);
    const link = { ends: [near, far], isSilent: behaviour === 'hole' };
    links.add(link);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk) => link.isSilent || to.write(chunk)).on('error', () => undefined);
      from.on('close', () => {
        if (!link.isSilent) to.destroy();
      });
    }
    if (behaviour === 'reset') cut(link);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const link of links) cut(link);
  });
  return {
    port: (server.address() as AddressInfo).port,
    behave(next) {
      behaviour = next;
      for (const link of links) {
        if (next === 'hole') link.isSilent = true;
        if (next === 'reset') cut(link);
      }
    },
  };
}
