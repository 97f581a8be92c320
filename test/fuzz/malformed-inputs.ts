import { METHODS } from 'node:http';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { pick } from '../support/random.ts';
import { createStream, mutant } from './arbitraries.ts';
import { composeBase, fillPath, type Source } from './base.ts';
import { type BodyType, CORPUS, type FieldType, toBytes } from './corpus.ts';
import type { Operation, Schema } from './document.ts';
import { fitHeader, fitTarget, type Input } from './request.ts';

/** Headers that are read somewhere on the way, beside those of the document. */
const HEADERS = [
  ...['authorization', 'content-type', 'idempotency-key', 'prefer', 'traceparent', 'x-request-id', 'accept', 'cookie'],
  ...['accept-encoding', 'content-encoding', 'origin', 'x-forwarded-for', 'x-http-method-override', 'if-none-match'],
];

/** A place of a request that a value of the corpus is put into. */
type Spot = {
  operation: Operation;
  type: FieldType;
  place: (base: Input, value: string, source: Source) => Partial<Input>;
};

/**
 * Requests that are wrong in one place, mostly. Of the corpus every value comes to every field, path and query before one
 * comes a second time, as long as there are enough inputs.
 */
export function createMalformedInputs(operations: Operation[], source: Source, seed: number): () => Input {
  const { random } = source;
  const bodies = operations.filter(({ body }) => body !== null);
  const streams = new Map(
    bodies.map((operation, n) => [operation, createStream(mutant(operation.body ?? {}), seed + n)] as const),
  );
  const anything = createStream(fc.json(), seed);
  const nextField = drawFromCorpus(operations.flatMap(listFields), source);
  const nextHeader = drawFromCorpus(operations.flatMap(listHeaders), source);
  return () => {
    const kind = pick(random, KINDS);
    if (kind === 'field') return nextField();
    if (kind === 'header') return nextHeader();
    const operation = pick(random, kind === 'mutant' || kind === 'json' ? bodies : operations);
    const base = { ...composeBase(operation, source), kind };
    if (kind === 'mutant') return { ...base, body: Buffer.from(JSON.stringify(streams.get(operation)?.())) };
    if (kind === 'json') return { ...base, body: Buffer.from(anything()) };
    return { ...base, ...CHANGES[kind](base, source) };
  };
}

/** What is tried, as often as it is written here. */
const KINDS = [
  ...(['field', 'field', 'field', 'field', 'field', 'field', 'field', 'field', 'field', 'field'] as const),
  ...(['header', 'header', 'mutant', 'mutant', 'mutant', 'json', 'method', 'path', 'query', 'media'] as const),
];

function drawFromCorpus(spots: Spot[], source: Source): () => Input {
  const all = spots.flatMap((spot) => CORPUS[spot.type].map((value) => ({ spot, value })));
  let left: typeof all = [];
  return () => {
    if (left.length === 0) left = shuffle(all, source.random);
    const { spot, value } = left.pop() ?? pick(source.random, all);
    const base = { ...composeBase(spot.operation, source), kind: spot.type };
    return { ...base, ...spot.place(base, value, source) };
  };
}

function shuffle<Item>(items: readonly Item[], random: () => number): Item[] {
  return items
    .map((item) => ({ item, order: random() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

function listFields(operation: Operation): Spot[] {
  const { body, parameters } = operation;
  const spots: Spot[] = [];
  for (const [name, schema] of Object.entries(body?.properties ?? {})) {
    spots.push({
      operation,
      type: classify(schema),
      place: (base, value) => ({ body: replaceField(base, name, value) }),
    });
  }
  if (body !== null) spots.push({ operation, type: 'object', place: (_, value) => ({ body: toBytes(value) }) });
  for (const { in: part, name } of parameters) {
    if (part === 'query') {
      const place: Spot['place'] = ({ target }, value) => ({ target: fitTarget(`${target}?${name}=${value}`) });
      spots.push({ operation, type: 'segment', place });
    }
    if (part === 'path') {
      const place: Spot['place'] = (_, value, source) => ({
        target: fitTarget(fillPath(operation, source, { [name]: value })),
      });
      spots.push({ operation, type: 'segment', place });
    }
  }
  spots.push({ operation, type: 'query', place: ({ target }, value) => ({ target: fitTarget(`${target}?${value}`) }) });
  return spots;
}

function classify(schema: Schema): BodyType {
  const { type, format } = schema.anyOf?.[0] ?? schema;
  if (format === 'date-time' || format === 'uuid') return format;
  if (format !== undefined) return 'contact';
  return type === 'integer' || type === 'boolean' || type === 'array' || type === 'object' ? type : 'string';
}

/** The body with a field whose value is any bytes. */
function replaceField({ body }: Input, name: string, value: string): Buffer {
  const others = JSON.parse(body?.toString() ?? '{}') as Record<string, unknown>;
  delete others[name];
  const rest = JSON.stringify(others).slice(1);
  return Buffer.concat([Buffer.from(`{"${name}":`), toBytes(value), Buffer.from(rest === '}' ? rest : `,${rest}`)]);
}

function listHeaders(operation: Operation): Spot[] {
  const documented = operation.parameters.filter((parameter) => parameter.in === 'header').map(({ name }) => name);
  return [...new Set([...HEADERS, ...documented])].map((name) => ({
    ...{ operation, type: 'header' },
    place: ({ headers }, value) => ({ headers: { ...headers, [name]: fitHeader(value) } }),
  }));
}

type Change = (base: Input, source: Source) => Partial<Input>;

const CHANGES: Record<'method' | 'path' | 'query' | 'media', Change> = {
  method: (_, { random }) => ({ method: pick(random, OTHER_METHODS) }),
  path: ({ target }, { random }) => ({ target: pick(random, PATH_CHANGES)(target) }),
  query: ({ target }, { random }) => ({
    target: fitTarget(`${target}?${pick(random, CORPUS.query)}&${pick(random, CORPUS.query)}`),
  }),
  media: changeMedia,
};

/** CONNECT is no request of a path. */
const OTHER_METHODS = [...METHODS.filter((method) => method !== 'CONNECT'), 'BREW', 'GETX', 'get', 'Post'];

const PATH_CHANGES: ((path: string) => string)[] = [
  (path) => `${path}/`,
  (path) => `${path}//`,
  (path) => `/${path}`,
  (path) => path.replaceAll('/', '//'),
  (path) => path.toUpperCase(),
  (path) => path.slice(0, -1),
  (path) => `${path}x`,
  (path) => `${path}/x`,
  (path) => `${path}%20`,
  (path) => `${path}%00`,
  (path) => `${path};v=1`,
  (path) => `${path}#x`,
  (path) => `${path}?`,
  (path) => `${path}.json`,
  (path) => `/v1${path}`,
  (path) => `/.${path}`,
  (path) => `/x/..${path}`,
  (path) => `/%2e%2e${path}`,
  (path) => path.replaceAll('/', '%2f'),
  (path) => path.replaceAll('/', '\\'),
  (path) => path.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  () => '/',
  () => '/*',
];

const MEDIA_TYPES = CORPUS.header.filter((value) => value.includes('/'));

function changeMedia({ headers, body }: Input, { random }: Source): Partial<Input> {
  const text = (body ?? Buffer.from('{}')).toString();
  const encode = pick(random, ENCODERS);
  const type = random() < 0.5 ? (headers['content-type'] ?? 'application/json') : fitHeader(pick(random, MEDIA_TYPES));
  return { headers: { ...headers, 'content-type': type }, body: encode(text) };
}

const ENCODERS: ((text: string) => Buffer)[] = [
  (text) => Buffer.from(text),
  (text) => Buffer.from(text, 'utf16le'),
  (text) => Buffer.from(text, 'utf16le').swap16(),
  (text) => Buffer.from(`\ufeff${text}`),
  (text) => Buffer.from(`\ufeff${text}`, 'utf16le'),
  (text) => gzipSync(text),
  (text) => Buffer.from(text).subarray(0, -1),
  (text) => Buffer.from(Buffer.from(text).toString('base64')),
  (text) => Buffer.from(`a=${encodeURIComponent(text)}`),
  () => Buffer.alloc(0),
  (text) => Buffer.from(text.padEnd(70_000)),
  (text) => Buffer.from(`[${text}]`),
];
