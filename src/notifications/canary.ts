import { z } from 'zod';
import { CHANNEL_NAMES, type Channel } from '../channels.ts';

/** The attribute that marks a message as nobody's: whoever receives it deletes it unread. */
const CANARY_ATTRIBUTE = 'canary';

/** A message that tells nobody anything, and only shows that a channel's path is open. A CloudEvent like the others. */
const canarySchema = z.object({
  specversion: z.literal('1.0'),
  type: z.literal('notification.canary.v1'),
  source: z.literal('/notifications'),
  id: z.string(),
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
  data: z.object({ channel: z.enum(CHANNEL_NAMES) }),
});

export type Canary = z.infer<typeof canarySchema>;

/** What SNS makes of a message where raw delivery is off. */
const envelopeSchema = z.object({ Type: z.literal('Notification'), Message: z.string() });

/** A canary for the path of one channel: marked for its queue like a notification, and as a canary. */
export function composeCanary(channel: Channel, id: string): { body: string; attributes: Record<string, string> } {
  const canary: Canary = {
    ...{ specversion: '1.0', type: 'notification.canary.v1', source: '/notifications', id },
    ...{ time: new Date().toISOString(), datacontenttype: 'application/json', data: { channel } },
  };
  return { body: JSON.stringify(canary), attributes: { [channel]: '1', [CANARY_ATTRIBUTE]: '1' } };
}

/** The canary in the body of a message of SQS, and whether it came in an envelope of SNS; null when it is something else. */
export function readCanary(body: string): { canary: Canary; wrapped: boolean } | null {
  const parsed = parseJson(body);
  const envelope = envelopeSchema.safeParse(parsed);
  const canary = canarySchema.safeParse(envelope.success ? parseJson(envelope.data.Message) : parsed);
  return canary.success ? { canary: canary.data, wrapped: envelope.success } : null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
