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
