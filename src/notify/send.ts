import { randomUUID } from 'node:crypto';
import type { NotifyInput } from './command.ts';
import { NotifyError } from './failures.ts';
import { acceptedSchema, type PreviewReply, previewReplySchema } from './replies.ts';
import { callService, type Service } from './service-call.ts';

/** By which share of it an audience may have changed since it was counted: users come and go. */
const TOLERANCE = 0.01;

/**
 * Counts what an input would come to, sending nothing.
 *
 * @throws NoAnswerError, RefusedError, StrangeAnswerError
 */
export function previewNotification(service: Service, body: NotifyInput, signal: AbortSignal): Promise<PreviewReply> {
  return callService(service, { method: 'POST', path: '/notifications/preview', body, signal }, previewReplySchema);
}

/** The input, to be sent only if about as many are told as were counted. */
export function expectRecipients(input: NotifyInput, { published }: PreviewReply): NotifyInput {
  return { ...input, expected_recipients: published, tolerance: Math.floor(published * TOLERANCE) };
}

/**
 * Sends a notification once, however often the call has to be repeated, and returns its id.
 *
 * @throws NoAnswerError, RefusedError, StrangeAnswerError
 */
export async function sendNotification(service: Service, body: NotifyInput, signal: AbortSignal): Promise<string> {
  const headers = { 'idempotency-key': randomUUID() };
  const { id } = await callService(
    service,
    { method: 'POST', path: '/notifications', body, headers, signal },
    acceptedSchema,
  ).catch((error: unknown) => {
    if (signal.aborted || (error instanceof NotifyError && error.uncertain)) throw new UncertainError(service, error);
    throw error;
  });
  return id;
}

/** It is not known whether the notification was accepted. */
class UncertainError extends NotifyError {
  constructor({ url }: Service, cause: unknown) {
    const reason = cause instanceof NotifyError ? `${cause.message}\n` : '';
    super(`${reason}It is not known whether the notification was accepted; GET ${url}/notifications shows the newest.`);
  }
}
