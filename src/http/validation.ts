import type { z } from 'zod';

/** Faults listed in one problem: a list of 10,000 wrong ids does not need 10,000 lines back. */
export const FAULTS_MAX = 100;
/** Nor is the name of an unknown field worth repeating when it is longer than any of ours. */
const POINTER_CHARS_MAX = 200;

/** What is wrong with one part of a request: a member of the problem document. */
export type Fault = { in: 'body' | 'path' | 'query' | 'headers'; pointer: string; detail: string };

/** What a zod schema found wrong with one part of a request; Fastify adds which part. */
export class ValidationError extends Error {
  readonly issues: z.core.$ZodIssue[];
  /** The part of the request, set by Fastify. */
  validationContext?: 'body' | 'params' | 'querystring' | 'headers';

  constructor(issues: z.core.$ZodIssue[]) {
    super('validation failed');
    this.issues = issues;
  }
}

/** Fastify's validator: zod's verdict, with every fault at once. */
export function compileValidator({ schema }: { schema: z.ZodType }) {
  return (data: unknown) => {
    const result = schema.safeParse(data);
    return result.success ? { value: result.data } : { error: new ValidationError(result.error.issues) };
  };
}

const PARTS = { body: 'body', params: 'path', querystring: 'query', headers: 'headers' } as const;

/** Every fault, up to `FAULTS_MAX`, with a JSON pointer to it. No more of the issues is looked at than is shown. */
export function listFaults({ issues, validationContext = 'body' }: ValidationError): Fault[] {
  const part = PARTS[validationContext];
  return issues
    .slice(0, FAULTS_MAX)
    .flatMap((issue): Fault[] => {
      if (issue.code !== 'unrecognized_keys') {
        return [{ in: part, pointer: composePointer(issue.path), detail: issue.message }];
      }
      const keys = issue.keys.slice(0, FAULTS_MAX);
      return keys.map((key) => ({
        in: part,
        pointer: composePointer([...issue.path, key]),
        detail: 'is not a known field',
      }));
    })
    .slice(0, FAULTS_MAX);
}

/** A JSON pointer (RFC 6901, section 3). */
function composePointer(path: PropertyKey[]): string {
  const segments = path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`);
  return segments.join('').slice(0, POINTER_CHARS_MAX);
}
