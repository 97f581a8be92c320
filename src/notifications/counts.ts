import { Prisma } from '../generated/client.ts';

/** Why a user is not told, as it is found when they are resolved, in this order. */
export const REASONS_FOUND = ['unknown_user', 'no_preferences', 'opted_out', 'no_contact'] as const;

export type ReasonFound = (typeof REASONS_FOUND)[number];

/**
 * Why a user is not told; a user has exactly one reason. The last two are given to everyone who is left when a
 * notification ends early.
 */
export const SUPPRESSION_REASONS = [...REASONS_FOUND, 'canceled', 'expired'] as const;

export type Reason = (typeof SUPPRESSION_REASONS)[number];

/**
 * How many seconds back the rate of a dispatch looks: what was settled that long ago has a weight of 1/e, 37 %. Several times
 * what a page takes at the smallest quota of SNS, 500 users at 300 a second, or the rate would jump with each.
 */
export const RATE_SECONDS = 15;
/** From here on nothing is left of a weight; `exp` of much more would be an underflow, which PostgreSQL makes an error. */
const FADED_SECONDS = 100 * RATE_SECONDS;

/** The SQL of the weight that has remained of what happened at a time: 1 now, 1/e after `RATE_SECONDS`. */
export const fade = (since: Prisma.Sql) => Prisma.sql`
  exp(-least(${FADED_SECONDS}::int, greatest(0, extract(epoch from now() - ${since})))::float8 / ${RATE_SECONDS}::int)`;

/**
 * The SQL of a JSON object of counters with `counts` added, key by key: `{"email": 3} + {email: 2} = {"email": 5}`.
 * The keys come from our own registries, never from a caller.
 */
export function addCounts<Key extends string>(
  column: Prisma.Sql,
  keys: readonly Key[],
  counts: Partial<Record<Key, number>>,
): Prisma.Sql {
  const sums = keys.map(
    (key) => Prisma.sql`${key}::text, coalesce((${column} ->> ${key})::int, 0) + ${counts[key] ?? 0}::int`,
  );
  return Prisma.sql`jsonb_build_object(${Prisma.join(sums)})`;
}
