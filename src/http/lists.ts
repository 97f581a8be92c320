import { z } from 'zod';
import { USER_ID_MAX } from '../user-id.ts';

/** Rows of a page of a list when the caller names no limit, and at most. */
const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;

/** A whole number in a path or a query, where everything is text: digits only, so that `1e3`, ` 7` or `0x1` are refused. */
function wholeNumber(min: number, max: number) {
  return z
    .string()
    .refine((text) => /^\d{1,10}$/.test(text), 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(min).max(max))
    .meta({ type: 'integer', minimum: min, maximum: max });
}

/** A user's id in a path or a query. */
export const userIdParameter = wholeNumber(1, USER_ID_MAX).meta({ description: 'The id of a user.', example: 42 });

/** `limit` of a list. */
export const limitParameter = wholeNumber(1, LIMIT_MAX)
  .default(LIMIT_DEFAULT)
  .describe(`Rows to return at most; ${LIMIT_DEFAULT} when absent.`);

/** `cursor` of a list in the order of user ids. */
export const userIdCursor = wholeNumber(0, USER_ID_MAX)
  .default(0)
  .describe('Where the previous page ended; taken from its `Link` header.');

/** The query of a list in the order of user ids. */
export const userListQuery = z.strictObject({ limit: limitParameter, cursor: userIdCursor });

/** The response of a list. */
export function pageOf<Row extends z.ZodType>(row: Row) {
  const link = 'The next page (RFC 8288): `</path?cursor=…>; rel="next"`. Absent at the end of the list.';
  return z.array(row).meta({
    description: 'A page of the list.',
    headers: { Link: { type: 'string', description: link } },
  });
}

/**
 * The `Link` header (RFC 8288) to the next page of a list, or nothing when this one is not full.
 *
 * @param url - the request's own URL, path and query.
 * @param full - whether there may be more, where something else than the limit may have ended the page.
 */
export function linkNext(
  url: string,
  limit: number,
  rows: readonly unknown[],
  cursor: string | number | undefined,
  full = rows.length >= limit,
) {
  if (!full || cursor === undefined) return {};
  const [path = '', query] = url.split('?', 2);
  const parameters = new URLSearchParams(query);
  parameters.set('limit', String(limit));
  parameters.set('cursor', String(cursor));
  return { link: `<${path}?${parameters.toString()}>; rel="next"` };
}
