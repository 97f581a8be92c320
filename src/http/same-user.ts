import { ValidationError } from './validation.ts';

/**
 * A body may repeat the user's id of the path, as a client does that sends back what it has read.
 *
 * @throws ValidationError when they differ
 */
export function requireSameUser(inPath: number, inBody: number | undefined): void {
  if (inBody !== undefined && inBody !== inPath) {
    throw new ValidationError([
      { code: 'custom', path: ['user_id'], message: 'must be the one in the path', input: inBody },
    ]);
  }
}
