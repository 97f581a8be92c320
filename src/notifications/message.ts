import { z } from 'zod';
import { CHANNEL_NAMES, CHANNELS, type Channel, channelsOfBits } from '../channels.ts';
import { userIdSchema } from '../user-id.ts';
import type { ClaimedPage } from './pages.ts';
import type { Recipient } from './recipients.ts';

/** The most that one SNS message, and one PublishBatch in all, may hold: body and attributes, in bytes (AWS SNS quotas). */
export const MESSAGE_BYTES_MAX = 262_144;

/** What a message's attributes may add up to: a marker per channel, and traceparent (11 + 6 + 55 bytes). */
const ATTRIBUTES_BYTES_MAX = 256;
/** What the envelope around subject and payload, and one recipient with the longest addresses, may add up to. */
const ENVELOPE_BYTES_MAX = 1_536;

const recipientSchema = z
  .object({
    user_id: userIdSchema,
    email: z.string().optional().describe('Present when the user is to be told by e-mail.'),
    sms: z.string().optional().describe('An E.164 number; present when the user is to be told by SMS.'),
  } satisfies { user_id: z.ZodType } & Record<Channel, z.ZodType>)
  .describe('An address is present only for channels the user is to be told on.');

/** The body of an SNS message: a CloudEvent 1.0 in structured JSON. AsyncAPI and the JSON Schema are generated from this. */
export const messageSchema = z.object({
  specversion: z.literal('1.0'),
  type: z.literal('notification.dispatched.v1'),
  source: z.literal('/notifications'),
  id: z.string().describe('`<notification_id>/<first user_id>`'),
  time: z.iso.datetime().describe('When the page with these recipients was claimed for dispatch.'),
  datacontenttype: z.literal('application/json'),
  data: z.object({
    notification_id: z.uuid(),
    subject: z.string().nullable(),
    payload: z.string(),
    recipients: z.array(recipientSchema).min(1),
  }),
});

/** One entry of a PublishBatch, and whom it tells. */
export type Message = {
  /** Composed whenever it is read: the bodies of a page may add up to more than the memory there is. */
  readonly body: string;
  attributes: Record<string, string>;
  /** The caller: SNS forwards it to SQS fair queues, so that one noisy caller cannot starve another. */
  group_id: string;
  /** Body and attributes, as SNS counts them. */
  bytes: number;
  channel_bits: number;
  user_ids: number[];
};

/** Whether a subject and a payload leave room for at least one recipient in an SNS message. */
export function fitsMessage(subject: string | null, payload: string): boolean {
  const text = Buffer.byteLength(toJson(subject)) + Buffer.byteLength(toJson(payload));
  return text + ENVELOPE_BYTES_MAX + ATTRIBUTES_BYTES_MAX <= MESSAGE_BYTES_MAX;
}

/** What the messages of a page have in common. */
export type MessageSource = Pick<
  ClaimedPage,
  'notification_id' | 'claimed_at' | 'subject' | 'payload' | 'created_by' | 'traceparent'
>;

/**
 * Packs the recipients of a page into messages of at most `recipientsPerMessage` recipients and `MESSAGE_BYTES_MAX` bytes.
 * Those of one message share the same channels, so that no queue receives someone who is not meant for it.
 */
export function composeMessages(page: MessageSource, recipients: Recipient[], recipientsPerMessage: number): Message[] {
  const envelope = composeEnvelope(page);
  const messages: Message[] = [];
  for (const [bits, group] of groupByChannels(recipients)) {
    const attributes = composeAttributes(bits, page.traceparent);
    for (const pack of packRecipients(group, recipientsPerMessage, roomOf(envelope))) {
      messages.push({
        get body() {
          return `${envelope.head}${pack.first}${envelope.middle}[${pack.json.join()}]}}`;
        },
        attributes,
        group_id: page.created_by,
        bytes: envelope.bytes + pack.bytes + ATTRIBUTES_BYTES_MAX,
        channel_bits: bits,
        user_ids: pack.user_ids,
      });
    }
  }
  return messages;
}

/** The bytes that one message has for the JSON of its recipients, a comma each included. */
export function measureRoom(page: MessageSource): number {
  return roomOf(composeEnvelope(page));
}

const roomOf = (envelope: { bytes: number }) => MESSAGE_BYTES_MAX - envelope.bytes - ATTRIBUTES_BYTES_MAX;

/** The JSON of a message up to its first recipient's id, and from there to the list of recipients: the same for a page. */
function composeEnvelope(page: MessageSource): { head: string; middle: string; bytes: number } {
  const id = page.notification_id;
  const head = `{"specversion":"1.0","type":"notification.dispatched.v1","source":"/notifications","id":"${id}/`;
  const middle =
    `","time":"${page.claimed_at.toISOString()}","datacontenttype":"application/json","data":{"notification_id":"${id}",` +
    `"subject":${toJson(page.subject)},"payload":${toJson(page.payload)},"recipients":`;
  // 16: the longest user id, the brackets around the recipients and the two braces at the end.
  return { head, middle, bytes: Buffer.byteLength(head) + Buffer.byteLength(middle) + 16 };
}

/** Markers only, never addresses: SNS encrypts bodies, not attributes. */
function composeAttributes(bits: number, traceparent: string | null): Record<string, string> {
  const attributes: Record<string, string> = {};
  for (const name of CHANNEL_NAMES) if (bits & CHANNELS[name].bit) attributes[name] = '1';
  if (traceparent !== null) attributes['traceparent'] = traceparent;
  return attributes;
}

/** A kind of message: the channels that its recipients are told on, and the attributes that say so. */
export type MessageKind = { channels: Channel[]; attributes: Record<string, string> };

/** Stands for any: what matters of it is that it is there. */
const ANY_TRACEPARENT = `00-${'0'.repeat(31)}1-${'0'.repeat(15)}1-01`;

/** Every kind of message there is, made as messages are made: for each set of channels one without a trace and one with it. */
export function listMessageKinds(): MessageKind[] {
  const everyBit = CHANNEL_NAMES.reduce((bits, name) => bits | CHANNELS[name].bit, 0);
  const kinds: MessageKind[] = [];
  for (let bits = everyBit; bits > 0; bits = (bits - 1) & everyBit) {
    const channels = channelsOfBits(bits);
    for (const traceparent of [null, ANY_TRACEPARENT])
      kinds.push({ channels, attributes: composeAttributes(bits, traceparent) });
  }
  return kinds;
}

function groupByChannels(recipients: Recipient[]): Map<number, Recipient[]> {
  const groups = new Map<number, Recipient[]>();
  for (const recipient of recipients) {
    let bits = 0;
    for (const name of CHANNEL_NAMES) if (recipient.addresses[name] !== undefined) bits |= CHANNELS[name].bit;
    const group = groups.get(bits);
    if (group === undefined) groups.set(bits, [recipient]);
    else group.push(recipient);
  }
  return groups;
}

type Pack = { first: number; user_ids: number[]; json: string[]; bytes: number };

function packRecipients(recipients: Recipient[], perMessage: number, roomBytes: number): Pack[] {
  const packs: Pack[] = [];
  let pack: Pack | undefined;
  for (const { user_id, addresses } of recipients) {
    const json = composeRecipient(user_id, addresses);
    const bytes = Buffer.byteLength(json) + 1;
    if (pack === undefined || pack.json.length === perMessage || pack.bytes + bytes > roomBytes) {
      pack = { first: user_id, user_ids: [], json: [], bytes: 0 };
      packs.push(pack);
    }
    pack.user_ids.push(user_id);
    pack.json.push(json);
    pack.bytes += bytes;
  }
  return packs;
}

/** What `toJson` would make of the same, for a tenth of its time: this is done for every recipient there is. */
function composeRecipient(userId: number, addresses: Recipient['addresses']): string {
  let json = `{"user_id":${userId}`;
  for (const name of CHANNEL_NAMES) {
    const address = addresses[name];
    if (address !== undefined) json += `,"${name}":${PLAIN.test(address) ? `"${address}"` : toJson(address)}`;
  }
  return `${json}}`;
}

/** Nothing that JSON would write otherwise. */
const PLAIN = /^[\w.+@-]*$/;

/** JSON without U+FFFE and U+FFFF in the raw, which SQS refuses in a message (SendMessage, "Message content"). */
function toJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\ufffe\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16)}`);
}
