import { z } from 'zod';
import type { Channel } from '../channels.ts';
import type { MessageKind } from '../notifications/message.ts';
import type { Fault } from './faults.ts';
import type { Attributes } from './reconcile.ts';

/** The conditions that can be judged: presence, and one exact text. Whoever wants more is answered that it cannot be told. */
const conditionsSchema = z.array(z.union([z.string(), z.strictObject({ exists: z.boolean() })]));
const policySchema = z.record(z.string(), conditionsSchema);

type Policy = z.infer<typeof policySchema>;

/** Named one by one; more than these say no more. */
const KINDS_NAMED_MAX = 4;

/**
 * What a subscription's filter does to the messages that are published: which of its channel it drops, which of others it
 * lets in. Differing from `wanted` is a fault as well, as some message to come may find out.
 */
export function judgeFilter(channel: Channel, present: Attributes, wanted: Attributes, kinds: MessageKind[]): Fault[] {
  const passes = readFilter(channel, present);
  const meant = kinds.filter(({ channels }) => channels.includes(channel));
  const isAsWanted = showFilter(present) === showFilter(wanted);
  const demand = isAsWanted ? 'does not fit what is published' : `has to be ${showFilter(wanted)}`;
  const what = `The filter policy is ${showFilter(present)}, and ${demand}.`;
  if (passes === null) return [{ what, lost: 'That cannot be told: it has conditions that are not judged here.' }];

  const dropped = meant.filter(({ attributes }) => !passes(attributes));
  const strays = kinds.filter((kind) => !meant.includes(kind) && passes(kind.attributes));
  const effects: string[] = [];
  if (dropped.length > 0) {
    const which = dropped.length === meant.length ? '' : ` ${nameKinds(dropped)}`;
    const all = dropped.length === meant.length ? 'Every message' : 'Messages';
    effects.push(`${all} for ${channel}${which}: SNS drops them without a trace, and they count as published.`);
  }
  if (strays.length > 0) {
    const more = `the queue also gets messages ${nameKinds(strays)}, which nobody meant for it.`;
    effects.push(dropped.length > 0 ? `And ${more}` : `Nothing; but ${more}`);
  }
  if (effects.length > 0) return [{ what, lost: effects.join(' ') }];
  return isAsWanted ? [] : [{ what, lost: 'Nothing: the messages of today go where they should all the same.' }];
}

/** Whether a message with the given attributes passes; null when that cannot be told. */
function readFilter(channel: Channel, present: Attributes): ((attributes: Attributes) => boolean) | null {
  const { FilterPolicy: text, FilterPolicyScope: scope = 'MessageAttributes' } = present;
  if (!text) return () => true;
  const policy = policySchema.safeParse(JSON.parse(text));
  if (!policy.success) return null;
  // The fields of a body are those of a CloudEvent, and no channel is among them.
  if (scope !== 'MessageAttributes') return channel in policy.data ? () => false : null;
  return (attributes) => passesPolicy(policy.data, attributes);
}

/** Every key has to hold, by one of its conditions (Amazon SNS, "Subscription filter policies"). */
function passesPolicy(policy: Policy, attributes: Attributes): boolean {
  return Object.entries(policy).every(([key, conditions]) =>
    conditions.some((condition) =>
      typeof condition === 'string' ? attributes[key] === condition : condition.exists === key in attributes,
    ),
  );
}

/** Without the spaces that somebody may have typed. */
function showFilter({ FilterPolicy: text, FilterPolicyScope: scope = 'MessageAttributes' }: Attributes): string {
  if (!text) return 'not set';
  return `${JSON.stringify(JSON.parse(text))} on the ${scope === 'MessageAttributes' ? 'attributes' : 'body'}`;
}

function nameKinds(kinds: MessageKind[]): string {
  const names = kinds.map(({ attributes }) => Object.keys(attributes).join(' + '));
  const named = names.slice(0, KINDS_NAMED_MAX).join(', ');
  const more = names.length > KINDS_NAMED_MAX ? ` and ${names.length - KINDS_NAMED_MAX} more` : '';
  return `with the attributes ${named}${more}`;
}
