import { SNSClient } from '@aws-sdk/client-sns';
import { Pool } from 'pg';
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase, type Database } from '../src/database.ts';
import { addAudience, countTold } from './faults/audience.ts';
import { closeBooks } from './faults/books.ts';
import { createOracle, type Entry, type Oracle } from './faults/oracle.ts';
import { addWitness } from './faults/witness.ts';
import { createTestDatabase } from './support/database.ts';
import { accept, createDeps, dispatchAll } from './support/dispatch.ts';

const USERS = 30;
const CLEAN = { lost: [], unexpected: [], duplicated: [], recovered: [], disagreements: [] };

let db: Database;
let sql: Pool;
let oracle: Oracle;
let id: string;

beforeAll(async () => {
  const url = await createTestDatabase();
  db = createDatabase({ url, poolMax: 2 });
  sql = new Pool({ connectionString: url, max: 2 });
  await addAudience(sql, USERS);
  await addWitness(sql);
  return async () => {
    await sql.end();
    await db.$disconnect();
  };
});

beforeEach(async () => {
  await sql.query('truncate notifications, witness cascade');
  oracle = createOracle();
  const sns = new SNSClient({ endpoint: await oracle.open('a'), maxAttempts: 1 });
  onTestFinished(async () => {
    sns.destroy();
    await oracle.stop();
  });
  id = await accept(db);
  await dispatchAll(createDeps({ db, sns }, { pageUsers: 7 }));
});

const check = () => closeBooks({ sql, oracle, users: USERS, promised: new Map([[id, null]]), imbalances: [] });

const keyOfUser = (user_id: number) => `${id}/${user_id}`;

/** What the journal has of a user. */
function findEntry(user_id: number): Entry {
  const entry = oracle.journal.find((one) => one.user_id === user_id);
  if (entry === undefined) throw new Error(`Nobody told user ${user_id}.`);
  return entry;
}

describe('the checker of the fault rows', () => {
  it('finds nothing wrong with a broadcast that nothing befell', async () => {
    expect(await check()).toEqual(CLEAN);
    expect(oracle.journal).toHaveLength(countTold(USERS));
  });

  it('finds one message that is lost', async () => {
    oracle.journal.splice(oracle.journal.indexOf(findEntry(14)), 1);

    const books = await check();

    expect(books.lost).toEqual([keyOfUser(14)]);
    expect(books.disagreements).toEqual([
      `${id}: published is 21 instead of 20`,
      ...[`${id}: email is 18 instead of 17`, `${id}: sms is 9 instead of 8`],
      `${keyOfUser(14)}: listed as sent, and SNS has no such message`,
    ]);
  });

  it('finds one message that was attempted only', async () => {
    findEntry(14).message_id = null;

    expect((await check()).lost).toEqual([keyOfUser(14)]);
  });

  it('finds one message that is doubled', async () => {
    oracle.journal.push({ ...findEntry(14), message_id: '9c1185a5-c5e9-54dc-9f4e-3e5a1bb80000' });

    expect(await check()).toEqual({ ...CLEAN, duplicated: [keyOfUser(14)], recovered: [keyOfUser(14)] });
  });

  it.each([
    ['who has opted out', { user_id: 11, told: 'email=user11@example.com' }],
    ['whom nobody knows', { user_id: 999, told: 'email=user999@example.com' }],
    ['at the address of another', { user_id: 14, told: 'email=user15@example.com sms=+15551000014' }],
    ['on a channel that is off', { user_id: 15, told: 'email=user15@example.com sms=+15551000015' }],
    [
      'on a channel that no attribute names',
      { user_id: 14, told: 'email=user14@example.com sms=+15551000014, marked email' },
    ],
  ])('finds one stranger: a user %s', async (_, stranger) => {
    oracle.journal.push({ ...findEntry(14), ...stranger });

    expect((await check()).unexpected).toEqual([keyOfUser(stranger.user_id)]);
  });

  it('finds a message of a notification that nobody was promised', async () => {
    const unpromised = { ...findEntry(14), notification_id: '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55' };
    oracle.journal.push(unpromised);

    expect((await check()).unexpected).toEqual([`${unpromised.notification_id}/14`]);
  });

  it('finds counts that are not what happened', async () => {
    await sql.query(`update notifications set published = published + 1, failed = failed - 1`);

    expect((await check()).disagreements).toEqual([
      `${id}: published is 22 instead of 21`,
      `${id}: failed is -1 instead of 0`,
    ]);
  });

  it('finds a second completion', async () => {
    await sql.query(`update notifications set completed_at = now()`);

    expect((await check()).disagreements).toEqual([`${id}: completions is 2 instead of 1`]);
  });

  it('finds a notification that is gone', async () => {
    await sql.query('truncate notifications cascade');

    expect((await check()).disagreements).toEqual([`${id}: promised, and not there`]);
  });
});
