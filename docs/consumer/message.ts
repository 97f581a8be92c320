import { z } from 'zod';

/** Each has a queue of its own, and an address of that name in a recipient. */
export const CHANNELS = ['email', 'sms'] as const;
export type Channel = (typeof CHANNELS)[number];

/** What all recipients of a message are told. */
export type Notification = { notification_id: string; subject: string | null; payload: string };

/** Someone to be told on this consumer's channel. */
export type Recipient = {
  user_id: number;
  address: string;
  /** `<notification_id>/<user_id>/<channel>`: whatever is done under a key that was there before must be done once only. */
  dedup_key: string;
};

/**
 * `unreadable`: damaged, or of a later version; `where` names the fields, never their content.
 * `foreign`: something else on the same topic, which concerns no recipient.
 */
export type Reading =
  | { kind: 'notification'; notification: Notification; recipients: Recipient[] }
  | { kind: 'foreign' }
  | { kind: 'unreadable'; where: string[] };

/** The version this consumer was written for; `notification.dispatched.v2` would be another message. */
const TYPE = 'notification.dispatched.v1';
const TYPE_OF_ANY_VERSION = /^notification\.dispatched\./;

const envelopeSchema = z.object({ type: z.string() });

/** Only what is read here: fields that are not known are left out, as more may come under the same type. */
const notificationSchema = z.object({
  data: z.object({
    notification_id: z.uuid(),
    subject: z.string().nullable(),
    payload: z.string(),
    recipients: z
      .array(
        z.object({
          user_id: z.int32(),
          ...({ email: z.string().optional(), sms: z.string().optional() } satisfies Record<Channel, z.ZodType>),
        }),
      )
      .min(1),
  }),
});

/** Takes the body of an SQS message apart, for one channel. Recipients without an address on it are somebody else's. */
export function readMessage(body: string, channel: Channel): Reading {
  const json = parseJson(body);
  const envelope = envelopeSchema.safeParse(json);
  if (!envelope.success) return { kind: 'unreadable', where: listFields(envelope.error) };
  const { type } = envelope.data;
  if (type !== TYPE) {
    // A later version has recipients, too: dropping it would lose them.
    return TYPE_OF_ANY_VERSION.test(type) ? { kind: 'unreadable', where: ['type'] } : { kind: 'foreign' };
  }

  const read = notificationSchema.safeParse(json);
  if (!read.success) return { kind: 'unreadable', where: listFields(read.error) };
  const { recipients, ...notification } = read.data.data;
  return {
    kind: 'notification',
    notification,
    recipients: recipients.flatMap(({ user_id, [channel]: address }) =>
      address === undefined
        ? []
        : [{ user_id, address, dedup_key: `${notification.notification_id}/${user_id}/${channel}` }],
    ),
  };
}

function listFields({ issues }: z.ZodError): string[] {
  return issues.map(({ path }) => (path.length === 0 ? 'body' : path.join('/')));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
