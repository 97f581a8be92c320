import { readFile } from 'node:fs/promises';
import specs from '@asyncapi/specs';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { describeMessages } from '../../docs/asyncapi.ts';
import { CHANNEL_NAMES } from '../../src/channels.ts';
import { messageSchema } from '../../src/notifications/message.ts';

type Pointer = { $ref: string };
type Channel = { address: string; messages: Record<string, Pointer> };
type Message = { headers: Pointer; payload: Pointer; examples: { headers: object; payload: object }[] };
type Document = {
  asyncapi: string;
  info: { description: string };
  channels: Record<string, Channel>;
  operations: Record<string, { action: string; channel: Pointer; messages: Pointer[] }>;
  components: { messages: Record<string, Message>; schemas: Record<string, object> };
};

const document: Document = JSON.parse(JSON.stringify(describeMessages()));
const ajv = new Ajv({ allErrors: true });
addFormats.default(ajv);
ajv.addSchema({ $id: 'document', definitions: document.components.schemas });

/** What is wrong with a value, in the eyes of a schema of the document. */
function findFaults({ $ref }: Pointer, value: unknown): unknown[] {
  const name = $ref.replace('#/components/schemas/', '');
  const validate = ajv.getSchema(`document#/definitions/${name}`);
  if (validate === undefined) throw new Error(`The document has no schema ${name}`);
  return validate(value) === true ? [] : (validate.errors ?? []);
}

function findTarget({ $ref }: Pointer): unknown {
  const keys = $ref.replace('#/', '').split('/');
  return keys.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document);
}

function readMessage(): Message {
  const [message, ...others] = Object.values(document.components.messages);
  if (message === undefined || others.length > 0) throw new Error('The document has one message');
  return message;
}

describe('the examples in the texts', () => {
  it.each(['README.md', 'docs/messages.md'])('of %s are messages', async (path) => {
    const text = await readFile(path, 'utf8');
    const examples = [...text.matchAll(/^```json\n(.*?)^```/gms)].filter(([, json = '']) =>
      json.includes('specversion'),
    );

    expect(examples).toHaveLength(1);
    for (const [, json = ''] of examples) expect(messageSchema.parse(JSON.parse(json))).toEqual(JSON.parse(json));
  });
});

describe('docs/asyncapi.json', () => {
  it('is what the code publishes', async () => {
    const committed = JSON.parse(await readFile('docs/asyncapi.json', 'utf8'));

    expect(committed, 'docs/asyncapi.json is out of date: npm run docs:generate').toEqual(document);
  });

  it('is what the specification of AsyncAPI 3.0 allows', () => {
    const official = new Ajv({ meta: false, validateSchema: false, strict: false, allErrors: true });
    addFormats.default(official);
    const validate = official.compile(specs.schemas['3.0.0'] as object);

    expect([validate(document), validate.errors ?? []]).toEqual([true, []]);
  });

  it('has no dangling reference', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"[^"]+"/g)].map(([text]) => `{${text}}`);

    expect(references.length).toBeGreaterThan(0);
    expect(references.filter((text) => findTarget(JSON.parse(text)) === undefined)).toEqual([]);
  });

  it('sends to the topic, and has a queue for every channel', () => {
    const topic = { channel: { $ref: '#/channels/notifications' }, action: 'send' };

    expect(Object.values(document.operations)).toEqual([expect.objectContaining(topic)]);
    expect(Object.keys(document.channels)).toEqual([
      'notifications',
      ...CHANNEL_NAMES.map((channel) => `notifications-${channel}`),
    ]);
    for (const [name, { address, messages }] of Object.entries(document.channels)) {
      expect(address).toBe(name);
      expect(Object.values(messages)).toEqual([{ $ref: '#/components/messages/NotificationDispatched' }]);
    }
  });

  it('tells consumers how to recognize what they have done already', () => {
    expect(document.info.description).toContain('(notification_id, user_id, channel)');
  });
});

describe('the message', () => {
  it('has an example that its schemas accept', () => {
    const { headers, payload, examples } = readMessage();

    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) {
      expect(findFaults(headers, example.headers)).toEqual([]);
      expect(findFaults(payload, example.payload)).toEqual([]);
    }
  });

  it('has a marker of at least one channel', () => {
    const { headers } = readMessage();

    for (const channel of CHANNEL_NAMES) expect(findFaults(headers, { [channel]: '1' })).toEqual([]);
    expect(findFaults(headers, {})).not.toEqual([]);
    expect(findFaults(headers, { [CHANNEL_NAMES[0]]: 'ada@example.com' })).not.toEqual([]);
  });

  it('needs its recipients, and may get fields that are not known yet', () => {
    const { payload, examples } = readMessage();
    const example = JSON.parse(JSON.stringify(examples[0]?.payload));

    expect(findFaults(payload, { ...example, data: { ...example.data, recipients: [] } })).not.toEqual([]);
    expect(findFaults(payload, { ...example, traceid: 'new' })).toEqual([]);
  });
});
