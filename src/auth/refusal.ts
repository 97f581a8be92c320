import type { Logger } from 'pino';
import { ServiceError } from '../errors.ts';

/** The log of the request that brings the credentials. */
export type RequestLog = Pick<Logger, 'info' | 'warn'>;

/**
 * Refuses credentials. Why goes to the log only, where nothing secret may go: whoever guesses learns nothing.
 *
 * @throws ServiceError credentials_invalid
 */
export function refuseCredentials(log: RequestLog, why: { reason: string; key_id?: string }): never {
  log.info(why, 'credentials refused');
  throw new ServiceError('credentials_invalid');
}
