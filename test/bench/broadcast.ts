import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import type { BenchDatabase } from './database.ts';
import type { Usage } from './meter.ts';
import type { BenchService } from './service.ts';

/** What became of a notification, of the row as it is. Seconds are from its first page to its completion. */
export type Outcome = {
  id: string;
  seconds: number;
  targeted: number;
  published: number;
  failed: number;
  messages: number;
  suppressed: Record<string, number>;
  by_channel: Record<string, number>;
};

/** Seldom enough to cost nothing beside what is measured; the time that counts is of the row. */
const CHECK_INTERVAL_MS = 50;

/** Of about the length of what people are told. */
export const INPUT = { subject: 'Tonight', payload: 'Maintenance at 22:00. Your statement will be ready tomorrow.' };

/** Notifies everyone and waits for the end. Returns what became of it, and what the process used meanwhile. */
export async function broadcast(
  service: BenchService,
  database: BenchDatabase,
  onProgress: (share: number) => void,
): Promise<Outcome & Usage> {
  await service.call('reset');
  const id = await notify(service.url, INPUT);
  const outcome = await waitForEnd(database, id, onProgress);
  return { ...outcome, ...(await service.call('read')) };
}

/** Accepts a notification and returns its id. */
export async function notify(url: string, body: object): Promise<string> {
  const response = await fetch(`${url}/notifications`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (response.status !== 202) throw new Error(`POST /notifications answers ${response.status}.`);
  return ((await response.json()) as { id: string }).id;
}

/** Waits until a notification is completed. */
export async function waitForEnd(
  { client, users }: Pick<BenchDatabase, 'client' | 'users'>,
  id: string,
  onProgress: (share: number) => void,
): Promise<Outcome> {
  for (;;) {
    const { completed, cursor } = await readState(client, id);
    if (completed) break;
    onProgress(cursor / users);
    await sleep(CHECK_INTERVAL_MS);
  }
  const { rows } = await client.query<Outcome>(
    `select id, extract(epoch from completed_at - started_at)::float8 as seconds, targeted, published, failed, messages,
       suppressed, by_channel
     from notifications where id = $1`,
    [id],
  );
  if (rows[0] === undefined) throw new Error(`The notification ${id} is gone.`);
  return rows[0];
}

async function readState(client: Client, id: string): Promise<{ completed: boolean; cursor: number }> {
  const { rows } = await client.query<{ completed: boolean; cursor: number }>(
    'select completed_at is not null as completed, cursor from notifications where id = $1',
    [id],
  );
  return rows[0] ?? { completed: false, cursor: 0 };
}
