import { z } from 'zod';

/** Rejected lines that are named in the answer. Who has more, has one reason for all of them. */
export const REJECTIONS_MAX = 100;

/** What became of the lines of an import. */
export const importResultSchema = z
  .object({
    lines: z.int().min(0).describe('Lines that are not blank. Each is either stored or rejected.'),
    stored: z.int().min(0).describe('Lines that were stored. Of several of one user the last one holds.'),
    rejected: z.int().min(0).describe('Lines that were not stored, as something is wrong with them.'),
    rejections: z
      .array(
        z.object({
          line: z.int().min(1).describe('The number of the line in the body, from 1 on. Blank ones count.'),
          reason: z.string().describe('What is wrong with it, for people.'),
        }),
      )
      .max(REJECTIONS_MAX)
      .describe(`Why, for the first ${REJECTIONS_MAX} of them.`),
  })
  .meta({
    id: 'ImportResult',
    example: {
      ...{ lines: 1_000_000, stored: 999_999, rejected: 1 },
      rejections: [{ line: 17, reason: '/email: Invalid email address' }],
    },
  });

export type ImportResult = z.infer<typeof importResultSchema>;

/** How an import works, for the document. */
export const IMPORT_DESCRIPTION = `One JSON object a line, each of which creates or replaces, so that an import may be sent again. The schema is
that of a line. A line that is wrong is rejected, and keeps none of the others from being stored; of several lines of one user the last holds. Lines
are stored in batches as they arrive: an import that breaks off has stored those that came first, and its problem says how many. The body may have
any size, but a line no more than 16 KiB, and must come without a \`Content-Encoding\`.`;
