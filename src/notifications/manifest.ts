import { Prisma } from '../generated/client.ts';

/** Who of a page was told, under which SNS MessageId, on which channels (a bit each). Three arrays of one length. */
export type Manifest = { user_ids: number[]; message_ids: string[]; channel_bits: number[] };

/** The SQL that sets the manifest of a page which is settled for the first time. */
export const setManifest = ({ user_ids, message_ids, channel_bits }: Manifest) => Prisma.sql`
  settled_at = now(), user_ids = ${toArray(user_ids)}::int[], message_ids = ${toArray(message_ids)}::uuid[],
  channel_bits = ${toArray(channel_bits)}::smallint[]`;

/** An array as PostgreSQL writes it. Nothing of it needs quotes, which looking for would cost more than all else. */
const toArray = (items: (number | string)[]) => `{${items.join()}}`;

/**
 * The SQL that adds to the manifest of a page which was settled before. Whoever is in it stays as they are, with the moment
 * at which they were told.
 */
export const extendManifest = ({ user_ids, message_ids, channel_bits }: Manifest) => Prisma.sql`
  user_ids = user_ids || ${toArray(user_ids)}::int[], message_ids = message_ids || ${toArray(message_ids)}::uuid[],
  channel_bits = channel_bits || ${toArray(channel_bits)}::smallint[],
  published_at = coalesce(published_at, '{}')
    || array_fill(null::timestamptz, array[cardinality(user_ids) - coalesce(cardinality(published_at), 0)])
    || array_fill(now(), array[${user_ids.length}::int])`;
