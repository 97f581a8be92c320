import { z } from 'zod';
import { notificationProgressSchema } from '../notifications/progress-schema.ts';
import { notificationSchema, previewSchema } from '../notifications/schemas.ts';

/** In JSON a time is text. */
const moment = z.iso.datetime({ offset: true }).transform((text) => new Date(text));

/** What `POST /notifications` answers, as far as it is needed. */
export const acceptedSchema = notificationSchema.pick({ id: true });

export const previewReplySchema = previewSchema;

export type PreviewReply = z.infer<typeof previewReplySchema>;

/** The data of an event of `GET /notifications/{id}/events`. */
export const progressSchema = notificationProgressSchema.extend({
  ...{ started_at: moment.nullable(), completed_at: moment.nullable(), eta: moment.nullable() },
});

export type Progress = z.infer<typeof progressSchema>;

/** An error of the service (RFC 9457), as far as it is shown. */
export const problemSchema = z.object({
  title: z.string(),
  detail: z.string(),
  code: z.string(),
  errors: z.array(z.object({ in: z.string(), pointer: z.string(), detail: z.string() })).default([]),
  recipients: z.int().optional(),
});

export type Problem = z.infer<typeof problemSchema>;
