import { isDeepStrictEqual } from 'node:util';

/** Attributes as SNS and SQS speak them: text by name, some of it JSON. */
export type Attributes = Record<string, string>;

/** One thing the topology consists of: how to look it up, what it should be like, and how to make it so. */
export type Resource<Found extends { arn: string; attributes: Attributes }> = {
  thing: 'topic' | 'dead-letter queue' | 'queue' | 'subscription';
  name: string;
  find(): Promise<Found | null>;
  /** The attributes it should have. Its own ARN tells account and region; what is set already may satisfy a rule. */
  wanted(arn: string, present: Attributes): Attributes;
  change(found: Found, attributes: Attributes): Promise<void>;
};

/** What was found out about one thing, or done to it. */
export type Step = {
  thing: Resource<{ arn: string; attributes: Attributes }>['thing'];
  name: string;
  /** The last two are what a check says instead of acting. */
  outcome: 'unchanged' | 'created' | 'corrected' | 'missing' | 'differs';
  /** The names of the attributes that differ or were corrected. */
  attributes: string[];
};

/** Looks at a resource and changes nothing. Appends what it saw to `steps`; resolves to null when the thing is missing. */
export async function inspect<Found extends { arn: string; attributes: Attributes }>(
  resource: Resource<Found>,
  steps: Step[],
): Promise<Found | null> {
  const found = await resource.find();
  const attributes = found === null ? [] : Object.keys(differingAttributes(resource, found));
  const outcome = found === null ? 'missing' : attributes.length > 0 ? 'differs' : 'unchanged';
  steps.push({ thing: resource.thing, name: resource.name, outcome, attributes });
  return found;
}

/** Creates a resource, or sets those of its attributes that differ. Appends what it did to `steps`. */
export async function ensure<Found extends { arn: string; attributes: Attributes }>(
  resource: Resource<Found>,
  create: () => Promise<Found>,
  steps: Step[],
): Promise<Found> {
  const { thing, name } = resource;
  const found = await resource.find();
  if (found === null) {
    const created = await create();
    steps.push({ thing, name, outcome: 'created', attributes: [] });
    return created;
  }
  const differing = differingAttributes(resource, found);
  const attributes = Object.keys(differing);
  if (attributes.length > 0) await resource.change(found, differing);
  steps.push({ thing, name, outcome: attributes.length > 0 ? 'corrected' : 'unchanged', attributes });
  return found;
}

/** The wanted attributes that are not what they should be. */
export function differingAttributes<Found extends { arn: string; attributes: Attributes }>(
  resource: Resource<Found>,
  found: Found,
): Attributes {
  const wanted = Object.entries(resource.wanted(found.arn, found.attributes));
  return Object.fromEntries(wanted.filter(([name, value]) => !meansTheSame(value, found.attributes[name])));
}

/** AWS may answer a JSON attribute with other spacing or another order of keys than it was given. */
function meansTheSame(wanted: string, present: string | undefined): boolean {
  return present !== undefined && isDeepStrictEqual(parseJson(wanted), parseJson(present));
}

/** Text that is no JSON, such as the id of a key, stands for itself. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
