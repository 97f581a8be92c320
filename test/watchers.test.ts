import { setMaxListeners } from 'node:events';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase, type Database } from '../src/database.ts';
import { controlNotification } from '../src/notifications/service.ts';
import { startTestApp } from './support/app.ts';
import { createTestDatabase } from './support/database.ts';
import { ACTOR, accept, CALLER, eventually, range } from './support/dispatch.ts';
import { type Watching, watch } from './support/events.ts';
import { call } from './support/service.ts';

/** The shortest time between two reads, in ms; a timer may ring a millisecond early. */
const INTERVAL_MS = 499;

/** Those of the test itself and of the pools, which come and go. */
const TIMEOUTS_MAX = 10;

/** A read of a notification: when it was made, and the columns it gave. */
type Read = { id: unknown; at: number; columns: string[] };

/** An application that says what it reads of notifications. Its callers, named by `Authorization`, have one scope. */
async function startReadingApp(scope: 'notifications:read' | 'notifications:read:all' = 'notifications:read') {
  const db = createDatabase({ url: await createTestDatabase(), poolMax: 2 });
  onTestFinished(() => db.$disconnect());
  const reads: Read[] = [];
  const noting = db.$extends({
    query: {
      notification: {
        async findUnique({ args, query }) {
          const read: Read = { id: args.where.id, at: performance.now(), columns: [] };
          reads.push(read);
          const row = await query(args);
          read.columns = Object.keys(row ?? {});
          return row;
        },
      },
    },
  });
  const stopping = new AbortController();
  // As in the service: every stream listens.
  setMaxListeners(0, stopping.signal);
  const app = await startTestApp({
    stopping: stopping.signal,
    db: noting as unknown as Database,
    authenticate: async (id = 'anonymous') => ({ id, scopes: new Set([scope]), dailyRecipients: null }),
  });
  onTestFinished(app.stop);
  const watchAs = (id: string, authorization = CALLER) =>
    watch(`${app.url}/notifications/${id}/events`, { authorization });
  const countReads = (of: string) => reads.filter(({ id }) => id === of).length;
  return { db, app, reads, watchAs, countReads };
}

const cancel = (db: Database, id: string) => controlNotification(db, 'cancel', { id, owner: null, actor: ACTOR });

const countTimeouts = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

const untilSeen = (streams: Watching[]) =>
  eventually(() => expect(streams.every(({ events }) => events.length > 0)).toBe(true));

describe('the watchers of a notification', () => {
  it('share the reads of it, at most two a second, without its texts', async () => {
    const { db, reads, watchAs } = await startReadingApp();
    const id = await accept(db, { user_ids: [1] });
    const startedAt = performance.now();

    const streams = await Promise.all(range(1, 30).map(() => watchAs(id)));
    await eventually(() => expect(reads.length).toBe(6));
    await cancel(db, id);
    await Promise.all(streams.map(({ closed }) => closed));

    const lastAt = reads.at(-1)?.at ?? 0;
    expect(reads.length).toBeLessThanOrEqual(1 + (lastAt - startedAt) / INTERVAL_MS);
    const told = streams.map(({ events }) => events.map(({ event }) => event));
    expect(told).toEqual(streams.map(() => ['progress', 'end']));
    const columns = reads.flatMap((read) => read.columns);
    expect(columns).toContain('published');
    for (const column of ['payload', 'subject', 'user_ids']) expect(columns).not.toContain(column);
  });

  it('are those who may read it', async () => {
    const { db, app } = await startReadingApp();
    const path = `/notifications/${await accept(db, { user_ids: [1] })}/events`;

    const foreign = await call(app, 'GET', path, undefined, { authorization: 'key:other' });
    const own = await call(app, 'GET', path, undefined, { authorization: CALLER });

    expect(own).toMatchObject({ status: 200, text: expect.stringContaining('event: progress') });
    expect(foreign).toMatchObject({ status: 404, body: { code: 'notification_not_found' } });
  });

  it('are also those who may read everyone’s', async () => {
    const { db, watchAs } = await startReadingApp('notifications:read:all');
    const id = await accept(db, { user_ids: [1] });

    const { events } = await watchAs(id, 'key:other');

    await eventually(() => expect(events).toMatchObject([{ event: 'progress', data: { id } }]));
  });

  it('leave nothing behind, however many come, go and come back', async () => {
    const { db, app, watchAs, countReads } = await startReadingApp();
    const [id, other] = [await accept(db, { user_ids: [1] }), await accept(db, { user_ids: [1] })];
    const timeoutsBefore = countTimeouts();

    for (const round of range(1, 10)) {
      const streams = await Promise.all(range(1, 20).map(() => watchAs(id)));
      // Every other time they hang up before they have read an event.
      if (round % 2 === 0) await untilSeen(streams);
      for (const { close } of streams.slice(10)) close();
      const back = await Promise.all(range(1, 10).map(() => watchAs(id)));
      for (const { close } of [...streams.slice(0, 10), ...back]) close();
    }

    await eventually(async () => expect(await countConnections(app)).toBe(0));
    const readsBefore = countReads(id);
    await watchAs(other);
    await eventually(() => expect(countReads(other)).toBe(4));
    expect(countReads(id)).toBe(readsBefore);
    expect(countTimeouts()).toBeLessThan(timeoutsBefore + TIMEOUTS_MAX);
  });
});

function countConnections({ app: { server } }: Awaited<ReturnType<typeof startTestApp>>): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}
