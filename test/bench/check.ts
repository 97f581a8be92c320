import type { BenchDatabase } from './database.ts';
import type { Sink } from './sink.ts';

/** Users who were not told although they should have been, users told who should not have been, and messages beyond the first. */
export type Verdict = { lost: number; unexpected: number; duplicated: number };

/** Nothing found yet. */
export const createVerdict = (): Verdict => ({ lost: 0, unexpected: 0, duplicated: 0 });

export function addVerdict(sum: Verdict, verdict: Verdict): void {
  sum.lost += verdict.lost;
  sum.unexpected += verdict.unexpected;
  sum.duplicated += verdict.duplicated;
}

/** Compares who was told, by the sink's journal, with who should have been. */
export async function checkBroadcast(sink: Sink, database: BenchDatabase): Promise<Verdict> {
  const [expected, journal] = await Promise.all([findAudience(database), sink.call('readJournal')]);
  return compare(expected, journal);
}

/** `times` has the number of messages by user id. */
export function compare(expected: number[], { times, strangers }: { times: Uint8Array; strangers: number }): Verdict {
  const verdict = { ...createVerdict(), unexpected: strangers };
  const isExpected = new Uint8Array(times.length);
  for (const id of expected) isExpected[id] = 1;
  for (const [id, count] of times.entries()) {
    if (count > 1) verdict.duplicated += count - 1;
    if (isExpected[id] === 1 && count === 0) verdict.lost += 1;
    if (isExpected[id] === 0 && count > 0) verdict.unexpected += 1;
  }
  return verdict;
}

/** Whom a notification to everyone has to tell, by a statement of its own: nothing of the service's has a part in it. */
async function findAudience({ client }: BenchDatabase): Promise<number[]> {
  const { rows } = await client.query<{ ids: string }>(
    `select coalesce(string_agg(user_id::text, ','), '') as ids from (
       select user_id from users natural join preferences where email_enabled and email is not null
       union
       select user_id from users natural join preferences where sms_enabled and phone is not null
     ) told`,
  );
  const ids = rows[0]?.ids ?? '';
  return ids === '' ? [] : ids.split(',').map(Number);
}
