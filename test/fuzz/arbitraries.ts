import * as fc from 'fast-check';
import type { Schema } from './document.ts';

/** Most texts and lists are short; what is longer than this comes from the corpus. */
const LENGTH_MAX = 100;
const ITEMS_MAX = 10;
/** The years that the service knows, which no format says. */
const MOMENTS = { min: new Date('2000-01-02T00:00:00Z'), max: new Date('9998-12-30T00:00:00Z'), noInvalidDate: true };

/** Values that a schema allows. */
export function valid(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(valid));
  const { minimum = -(2 ** 31), maximum = 2 ** 31 - 1, minItems = 0, maxItems = ITEMS_MAX } = schema;
  switch (schema.type) {
    case 'integer':
      return fc.integer({ min: minimum, max: maximum });
    case 'number':
      return fc.double({ min: minimum, max: maximum, noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(valid(schema.items ?? {}), { minLength: minItems, maxLength: Math.min(maxItems, ITEMS_MAX) });
    case 'object':
      return validObject(schema);
    case 'string':
      return validText(schema);
    default:
      return fc.jsonValue();
  }
}

function validObject({ properties = {}, required = [] }: Schema): fc.Arbitrary<Record<string, unknown>> {
  const fields = Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, valid(schema)]));
  return fc.record(fields, { requiredKeys: required });
}

function validText({ format, pattern, minLength = 0, maxLength = LENGTH_MAX }: Schema): fc.Arbitrary<string> {
  if (format === 'uuid') return fc.uuid();
  if (format === 'date-time') return fc.date(MOMENTS).map((date) => date.toISOString());
  if (pattern !== undefined) {
    return fc.stringMatching(new RegExp(pattern)).filter(({ length }) => length >= minLength && length <= maxLength);
  }
  const length = { minLength, maxLength: Math.min(maxLength, LENGTH_MAX) };
  return fc
    .oneof(fc.string({ unit: 'grapheme', ...length }), fc.string({ unit: 'binary', ...length }))
    .filter((text) => !text.includes('\0') && text.length <= maxLength);
}

/** Bodies of which something is wrong, mostly one field; by chance some are right. */
export function mutant(schema: Schema): fc.Arbitrary<unknown> {
  const names = Object.keys(schema.properties ?? {});
  if (names.length === 0) return fc.jsonValue();
  const name = fc.constantFrom(...names);
  const change = fc.oneof(
    name.chain((key) => fc.record({ key: fc.constant(key), value: broken(schema.properties?.[key] ?? {}) })),
    fc.record({ key: name, value: fc.jsonValue() }),
    fc.record({ key: name, value: fc.constant(undefined) }),
    fc.record({ key: fc.string(), value: fc.jsonValue() }),
  );
  // `defineProperty`, as a key may be `__proto__`.
  return fc.tuple(valid(schema), change).map(([body, { key, value }]) => {
    const all = { ...(body as object) };
    return Object.defineProperty(all, key, { value, enumerable: true, configurable: true, writable: true });
  });
}

/** Values just beyond what a schema allows. */
function broken(schema: Schema): fc.Arbitrary<unknown> {
  const { minimum = 0, maximum = 0, maxLength = 0, maxItems = 0 } = schema;
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(broken));
  if (schema.type === 'integer') {
    return fc.oneof(fc.constantFrom(minimum - 1, maximum + 1, minimum + 0.5), fc.double(), fc.maxSafeInteger());
  }
  if (schema.type === 'array') {
    const items = broken(schema.items ?? {});
    return fc.oneof(
      fc.array(items),
      fc.constant(Array.from({ length: maxItems + 1 }, () => 1)),
      fc.dictionary(fc.string(), items),
    );
  }
  if (schema.type === 'string') {
    const almost = fc.tuple(valid(schema), fc.string({ unit: 'binary', minLength: 1, maxLength: 2 }));
    return fc.oneof(
      almost.map(([text, more]) => String(text) + more),
      fc.constant('x'.repeat(maxLength + 1)),
      fc.constant(''),
    );
  }
  return fc.oneof(fc.constantFrom('true', 'false', 0, 1, null), fc.jsonValue());
}

/** Values of an arbitrary, one after the other, the same ones for the same seed. */
export function createStream<Value>(arbitrary: fc.Arbitrary<Value>, seed: number): () => Value {
  let drawn: Value[] = [];
  let draws = 0;
  return () => {
    if (drawn.length === 0) drawn = fc.sample(arbitrary, { seed: seed + draws++, numRuns: DRAWN_AT_ONCE });
    return drawn.pop() as Value;
  };
}

/** As much as to keep the service waiting for some milliseconds only. */
const DRAWN_AT_ONCE = 50;
