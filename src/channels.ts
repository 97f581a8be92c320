/**
 * The registry of channels. Schemas, SQL, message attributes, queues and filter policies derive from it: a new channel is
 * one entry here, its two columns in the Prisma schema, and a migration.
 */
export const CHANNELS = {
  email: { bit: 1, preference: 'email_enabled', contact: 'email' },
  sms: { bit: 2, preference: 'sms_enabled', contact: 'phone' },
} as const satisfies Record<
  string,
  {
    /** Its place in a stored set of channels. Never reuse one. */
    bit: number;
    /** The column of `preferences` that turns it on. */
    preference: string;
    /** The column of `users` that holds the address. */
    contact: string;
  }
>;

/** A channel's name: also its message attribute and the last part of its queue's name. */
export type Channel = keyof typeof CHANNELS;

/** Every channel's name, in the order of the registry. */
export const CHANNEL_NAMES = Object.keys(CHANNELS) as [Channel, ...Channel[]];

/** The channels of a stored bit set, in the order of the registry. */
export function channelsOfBits(bits: number): Channel[] {
  return CHANNEL_NAMES.filter((name) => (bits & CHANNELS[name].bit) !== 0);
}
