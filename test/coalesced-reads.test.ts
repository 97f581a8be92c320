import { beforeEach, describe, expect, it } from 'vitest';
import { coalesceReads, type ReadRow } from '../src/coalesced-reads.ts';
import type { Database } from '../src/database.ts';
import { Prisma, type User } from '../src/generated/client.ts';
import { addUsers, emptyDatabase, eventually, openTestDatabase, range } from './support/dispatch.ts';

const connect = await openTestDatabase();

let db: Database;
let statements: number;
let read: ReadRow<User>;

beforeEach(async () => {
  const real = connect();
  statements = 0;
  const query = (statement: { text: string }) => {
    statements += 1;
    return real.pool.query(statement);
  };
  db = new Proxy(real, { get: (target, key) => (key === 'pool' ? { query } : Reflect.get(target, key)) });
  await emptyDatabase(db);
  await addUsers(db, range(1, 9));
  read = coalesceReads<User>(db, Prisma.sql`select user_id, email, phone from users`);
});

describe('reads of rows', () => {
  it('that are asked for at the same time are one statement, and each gets its own', async () => {
    const rows = await Promise.all([3, 99, 1, 3].map(read));

    expect(rows.map((row) => row?.user_id)).toEqual([3, undefined, 1, 3]);
    expect(statements).toBe(1);
  });

  it('wait for each other beyond two statements, and then go together', async () => {
    const locked = connect();
    let release: (() => void) | undefined;
    const held = locked.$transaction(async (transaction) => {
      await transaction.$executeRaw`lock table users`;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    });
    await eventually(() => expect(release).toBeDefined());
    const first = read(1);
    await eventually(() => expect(statements).toBe(1));
    const second = read(2);
    await eventually(() => expect(statements).toBe(2));
    const others = [3, 4, 5].map(read);

    release?.();
    await held;

    expect((await Promise.all([first, second, ...others])).map((row) => row?.user_id)).toEqual([1, 2, 3, 4, 5]);
    expect(statements).toBe(3);
  });

  it('show what was there when they were asked for', async () => {
    await Promise.all([1, 2].map(read));
    await db.$executeRaw`update users set email = 'new@example.com' where user_id = 1`;

    expect(await read(1)).toMatchObject({ email: 'new@example.com' });
  });

  it('fail together, and the next ones do not', async () => {
    await db.$executeRaw`alter table users rename to users_away`;
    const failed = await Promise.allSettled([1, 2].map(read));
    await db.$executeRaw`alter table users_away rename to users`;

    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await read(1)).toMatchObject({ user_id: 1 });
  });
});
