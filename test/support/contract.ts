import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { expect } from 'vitest';
import { call, type Reply } from './service.ts';

export type Contract = {
  /** Calls the API like `call` of service.ts, and holds the reply against the document that the service serves. */
  call: (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Reply>;
  /** What is wrong with a reply, by the document and by what the document cannot say; nothing: it is as it has to be. */
  judge: (method: string, path: string, reply: Reply) => string[];
  /** The documented answers that were seen, like `GET /users/{user_id} 200`. */
  seen: Set<string>;
  /** The answers that the document has for the routes of a tag, written alike. */
  documented: (tag: string) => string[];
};

/** Answers of calls in general, about callers, limits and outages. They have tests of their own, over all calls. */
export const SHARED_ANSWERS = / (401|403|429|500|503)$/;

type Operation = { tags: string[]; responses: Record<string, { content?: Record<string, unknown> }> };
export type Document = {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, unknown> };
};

/** Reads the document of a service, by which every reply is judged from then on. */
export async function openContract(service: { url: string }): Promise<Contract> {
  const { body: document } = await call(service, 'GET', '/openapi.json');
  return createContract(service, document as Document);
}

/** Judges the replies of a service by a given document. */
export function createContract(service: { url: string }, document: Document): Contract {
  const validate = compileSchemas(document);
  const seen = new Set<string>();
  const judge = (method: string, path: string, reply: Reply) => {
    const route = findRoute(document, method, path);
    return [
      ...judgeHeaders(reply),
      ...(route.responses ? judgeDocumented(validate, route, reply) : judgeUndocumented(validate, route, reply)),
      ...judgeProblem(reply),
      ...[reply.body].flat().flatMap(judgeAccounting),
    ];
  };
  return {
    ...{ seen, judge },
    documented: (tag) => listAnswers(document, tag),
    async call(method, path, body, headers) {
      const reply = await call(service, method, path, body, headers);
      const route = findRoute(document, method, path);
      const faults = judge(method, path, reply);
      const about = `${method} ${path.slice(0, 100)}: ${reply.status} ${reply.text.slice(0, 1_000)}`;
      expect({ about, faults }).toEqual({ about, faults: [] });
      if (route.responses) seen.add(`${method} ${route.template} ${reply.status}`);
      return reply;
    },
  };
}

/** What is wrong with a value by the schema at a place in the document. */
type Validate = (value: unknown, ...pointer: string[]) => string[];

function compileSchemas(document: object): Validate {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema(document, 'document');
  return (value, ...pointer) => {
    const escaped = pointer.map((key) => encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1')));
    const validate: ValidateFunction | undefined = ajv.getSchema(`document#/${escaped.join('/')}`);
    if (validate === undefined) return [`no schema at ${pointer.join(' ')}`];
    validate(value);
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  };
}

function listAnswers({ paths }: Document, tag: string): string[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { tags }]) => tags.includes(tag))
      .flatMap(([method, { responses }]) =>
        Object.keys(responses).map((status) => `${method.toUpperCase()} ${path} ${status}`),
      ),
  );
}

/** What the document has for a call: HEAD is GET without a body, and there is none of a stream. `template` alone: the path, but not the method. */
type Route = { head: boolean; method: string; template?: string; responses?: Operation['responses'] | undefined };

function findRoute({ paths }: Document, called: string, path: string): Route {
  const head = called === 'HEAD';
  const method = head ? 'get' : called.toLowerCase();
  const segments = path
    .replace(/[?#].*$/s, '')
    .replace(/\/$/, '')
    .split('/')
    .map(decodeSegment);
  const own = segments.join('/');
  const template = Object.keys(paths).find((candidate) => {
    // A path without parameters goes before those that would fit, too.
    if (own in paths) return candidate === own;
    const parts = candidate.split('/');
    return (
      parts.length === segments.length &&
      parts.every((part, n) => (part.startsWith('{') ? segments[n] !== '' : part === segments[n]))
    );
  });
  if (template === undefined) return { head, method };
  const responses = paths[template]?.[method]?.responses;
  const isStream = EVENTS in (responses?.['200']?.content ?? {});
  return { head, method, template, responses: head && isStream ? undefined : responses };
}

/** As a router reads it; one that cannot be decoded is no word of a path. */
function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function judgeHeaders({ status, headers }: Reply): string[] {
  const faults: string[] = [];
  if (!/^[\w.-]{1,64}$/.test(headers.get('x-request-id') ?? '')) faults.push('no x-request-id');
  if (status === 405 && !/^[A-Z]+(, [A-Z]+)*$/.test(headers.get('allow') ?? '')) faults.push('no Allow');
  return faults;
}

function judgeDocumented(validate: Validate, route: Route, reply: Reply): string[] {
  const { head, method, template = '', responses } = route;
  const response = responses?.[reply.status];
  if (response === undefined) return judgeCommon(validate, route, reply);
  if (head) return reply.text === '' ? [] : ['a body in answer to HEAD'];
  const mediaTypes = Object.keys(response.content ?? {});
  const type = reply.headers.get('content-type')?.split(';')[0] ?? '';
  if (reply.status === 204) return reply.text + type === '' ? [] : ['a body under 204'];
  if (mediaTypes.join() !== type) return [`content-type ${type} instead of ${mediaTypes.join()}`];
  const schema = ['paths', template, method, 'responses', `${reply.status}`, 'content', type, 'schema'];
  return type === EVENTS ? judgeEvents(validate, reply.text, schema) : validate(reply.body, ...schema);
}

const EVENTS = 'text/event-stream';

/** The document's schema of a stream says what its events are. */
function judgeEvents(validate: Validate, text: string, schema: string[]): string[] {
  const events: EventSourceMessage[] = [];
  createParser({ onEvent: (event) => void events.push(event) }).feed(text);
  const item = [...schema, 'contentSchema', 'items'];
  const faults = events.flatMap((event) => {
    const data: unknown = JSON.parse(event.data);
    const ofData = validate(data, ...item, 'properties', 'data', 'contentSchema');
    return [...validate(event, ...item), ...ofData, ...judgeAccounting(data)];
  });
  return events.length > 0 ? faults : ['a stream without an event'];
}

/** Refusals that come before any route, and so are documented for all of them at once. */
const COMMON = new Set(['request_timeout', 'headers_too_large', 'malformed_request']);

function judgeCommon(validate: Validate, { head, template }: Route, { status, text, body }: Reply): string[] {
  if (head && text === '' && [400, 408, 431].includes(status)) return [];
  const { code = '' } = (typeof body === 'object' ? body : {}) as { code?: string };
  if (!COMMON.has(code)) return [`not a documented answer of ${template}`];
  return validate(body, 'components', 'schemas', 'Problem');
}

/** A path that is not documented is for people, or not served; a method that is not documented is refused, or its path is. */
function judgeUndocumented(validate: Validate, { template }: Route, reply: Reply): string[] {
  if (template !== undefined && ![400, 405].includes(reply.status)) return ['neither documented nor refused'];
  return reply.status < 400 || reply.text === '' ? [] : validate(reply.body, 'components', 'schemas', 'Problem');
}

/** What the schema of a problem cannot say. */
function judgeProblem({ status, headers, text, body }: Reply): string[] {
  if (text === '' || !headers.get('content-type')?.startsWith('application/problem+json')) return [];
  const faults: string[] = [];
  const problem = body as { status?: number; instance?: string };
  if (problem.status !== status) faults.push('not the status of the reply');
  if (problem.instance !== `/requests/${headers.get('x-request-id')}`) faults.push('not the x-request-id of the reply');
  if (status === 503 && !/^[1-9]\d*$/.test(headers.get('retry-after') ?? '')) faults.push('no Retry-After');
  if (/prisma|postgres|node_modules|at \w+ \(/i.test(text)) faults.push('tells of our insides');
  return faults;
}

type Notification = {
  status: string;
  progress: number;
  audience: { count: number | null };
  counts: Record<'targeted' | 'published' | 'failed' | 'pending' | 'messages', number> &
    Record<'suppressed' | 'by_channel', Record<string, number>>;
};

/** A notification, wherever it is shown, accounts for its whole audience. */
function judgeAccounting(shown: unknown): string[] {
  if (typeof shown !== 'object' || shown === null || !('counts' in shown)) return [];
  const { status, progress, audience, counts } = shown as Notification;
  const { targeted, published, failed, pending, suppressed, by_channel, messages } = counts;
  const settled = published + failed + Object.values(suppressed).reduce((sum, users) => sum + users, 0);
  const faults: string[] = [];
  if (targeted !== settled + pending) faults.push('somebody is unaccounted for');
  if (Math.max(messages, ...Object.values(by_channel)) > published) faults.push('more told than published');
  if (audience.count !== null && audience.count !== targeted) faults.push('audience and targeted differ');
  const done = pending === 0 && progress === 1 && audience.count !== null;
  if (status === 'completed' && !done) faults.push('completed, but not done');
  return faults;
}

/** Follows a list from `path` to its end by its links. Returns the rows, and how many pages they came in. */
export async function walkList(contract: Contract, path: string): Promise<{ rows: unknown[]; pages: number }> {
  const rows: unknown[] = [];
  let pages = 0;
  for (let next: string | undefined = path; next !== undefined; pages++) {
    const reply: Reply = await contract.call('GET', next);
    rows.push(...(reply.body as unknown[]));
    next = /^<(\/.+)>; rel="next"$/.exec(reply.headers.get('link') ?? '')?.[1];
  }
  return { rows, pages };
}

/** How many of the replies have each status, like `{ 201: 1, 409: 19 }`. */
export function countStatuses(replies: Reply[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of replies) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}
