import { beforeEach, describe, expect, it } from 'vitest';
import type { Database } from '../src/database.ts';
import { dispatchNext } from '../src/notifications/dispatcher.ts';
import { readLag } from '../src/notifications/lag.ts';
import { createMeasures, type Measures } from '../src/notifications/measures.ts';
import {
  accept,
  addUsers,
  createDeps,
  dispatchAll,
  emptyDatabase,
  eventually,
  expireLeases,
  openTestDatabase,
  range,
  UNSTOPPED,
} from './support/dispatch.ts';
import { type Sink, startSink } from './support/sink.ts';

let connect: (poolMax?: number) => Database;
let db: Database;
let sink: Sink;

beforeEach(async () => {
  connect ??= await openTestDatabase();
  db = connect();
  sink = await startSink();
  await emptyDatabase(db);
});

/** What dispatching needs, and where it is counted. */
function createMeasured(): ReturnType<typeof createDeps> & { measures: Measures } {
  return createDeps({ db, sns: sink.connect() }, { measures: createMeasures() });
}

/** As if it had become due so many seconds ago. */
const age = (id: string, seconds: number) => db.$executeRaw`
  update notifications set waiting_since = now() - make_interval(secs => ${seconds}),
    created_at = now() - make_interval(secs => ${seconds}) where id = ${id}::uuid`;

describe('what a process counts', () => {
  it('is each page and each recipient once, by what became of them', async () => {
    await addUsers(db, range(1, 25));
    await accept(db);
    await accept(db, { user_ids: [1, 99] });
    sink.answer(() => ({
      fail: ({ body }) => (body.includes('user7@') ? { code: 'InvalidParameter', senderFault: true } : undefined),
    }));
    const deps = createMeasured();

    await dispatchAll({ ...deps, pageUsers: 10 });

    const { pages, recipients, lease } = deps.measures;
    expect(pages).toEqual({ claimed: 4, reclaimed: 0, published: 4, fenced_out: 0, released: 0 });
    expect(recipients).toMatchObject({ published: 25, failed: 1, suppressed: { unknown_user: 1, opted_out: 0 } });
    expect(lease).toEqual({ renewals_failed: 0, lost: 0 });
  });

  it('tells a page that was taken over from one that was lost', async () => {
    await addUsers(db, range(1, 3));
    await accept(db);
    const [loser, taker] = [createMeasured(), createMeasured()];
    const release = sink.holdReplies();
    const losing = dispatchNext({ ...loser, leaseSeconds: 0.3 }, UNSTOPPED);
    await eventually(() => expect(sink.accepted).toHaveLength(3));
    await expireLeases(db);
    const taking = dispatchNext(taker, UNSTOPPED);

    await losing;
    release();
    await taking;

    expect(loser.measures).toMatchObject({ lease: { lost: 1 }, pages: { claimed: 1, published: 0 } });
    expect(taker.measures.pages).toMatchObject({ claimed: 1, reclaimed: 1, published: 1 });
  });

  it('counts a page given back, and nothing of its recipients', async () => {
    await addUsers(db, range(1, 3));
    await accept(db);
    const deps = createMeasured();

    await dispatchNext(deps, AbortSignal.abort());

    expect(deps.measures.pages).toMatchObject({ claimed: 1, released: 1, published: 0 });
    expect(deps.measures.recipients.published).toBe(0);
  });
});

describe('the lag', () => {
  it('is nothing while nothing is due', async () => {
    await accept(db, { send_at: new Date(Date.now() + 3_600_000) });
    const paused = await accept(db);
    await age(paused, 100);
    await db.$executeRaw`update notifications set status = 'paused', waiting_since = '9999-01-01' where id = ${paused}::uuid`;

    expect(await readLag(db)).toEqual({ oldest: 0, waiting: 0 });
  });

  it('is the age of the oldest that is due, begun or not, and how long one has waited for a page', async () => {
    await addUsers(db, range(1, 3));
    const begun = await accept(db);
    await dispatchNext({ ...createMeasured(), pageUsers: 1 }, UNSTOPPED);
    await age(begun, 500);
    await db.$executeRaw`update notifications set waiting_since = now() where id = ${begun}::uuid`;
    const waiting = await accept(db);
    await age(waiting, 100);

    const lag = await readLag(db);

    expect(lag.oldest).toBeGreaterThanOrEqual(500);
    expect(lag.oldest).toBeLessThan(530);
    expect(lag.waiting).toBeGreaterThanOrEqual(100);
    expect(lag.waiting).toBeLessThan(130);
  });
});
