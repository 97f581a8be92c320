import { buildApp } from 'fauxqs';
import { findFreePort } from './postgres.ts';

export type Emulator = { url: string; stop: () => Promise<void> };

/**
 * Starts the SNS and SQS emulator on 127.0.0.1; port 0 is any free one. Its topics and queues live in memory.
 * The library's own start would listen on every interface of the machine.
 *
 * @throws PortInUseError
 */
export async function startEmulator(port: number): Promise<Emulator> {
  await findFreePort(port);
  const app = buildApp({ logger: false });
  const url = await app.listen({ host: '127.0.0.1', port });
  return { url, stop: () => app.close() };
}
