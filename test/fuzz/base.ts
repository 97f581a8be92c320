import type { Operation, Parameter, Schema } from './document.ts';
import { fitTarget, type Input, toLatin1 } from './request.ts';

/** Few users, so that many calls meet one that is there. */
const USERS = 20;
/** Notifications remembered, to be read and canceled; until there are so many, some that are named are not there. */
const IDS_MAX = 50;

/** What the service has told so far that a request may name. */
export type Known = { ids: string[] };

/** Remembers the id of a resource that a reply says is created. */
export function learn({ ids }: Known, location: string | null): void {
  const id = /^\/notifications\/([\w-]+)$/.exec(location ?? '')?.[1];
  if (id === undefined) return;
  ids.push(id);
  if (ids.length > IDS_MAX) ids.shift();
}

export type Source = { random: () => number; known: Known; key: string };

/** A request that is right, from the example of the operation's body. */
export function composeBase(operation: Operation, source: Source): Input {
  const { route, method, body, mediaType } = operation;
  const example = body === null ? null : Buffer.from(JSON.stringify(body.example ?? {}));
  const headers: Record<string, string> = { authorization: `Bearer ${source.key}` };
  if (example !== null) headers['content-type'] = mediaType;
  return { route, kind: 'base', method, target: fillPath(operation, source), headers, body: example };
}

/** The path with ids of what is, mostly, there. `params` replaces some by name. */
export function fillPath(
  { template, parameters }: Operation,
  source: Source,
  params: Record<string, string> = {},
): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const parameter = parameters.find((known) => known.in === 'path' && known.name === name);
    return params[name] ?? pickId(parameter?.schema ?? {}, source);
  });
}

/** Takes one random number, whatever is known, so that the same seed goes on to the same inputs. */
function pickId({ format }: Schema, { random, known }: Source): string {
  const share = random();
  if (format !== 'uuid') return String(1 + Math.floor(share * USERS));
  return known.ids[Math.floor(share * IDS_MAX)] ?? '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';
}

/** What a valid request is made of, drawn by the schemas of its operation. */
export type Draw = { parameters: Record<string, unknown>; body: Record<string, unknown> | null };

/** A request of which everything is drawn. */
export function composeValid(operation: Operation, draw: Draw, source: Source): Input {
  const { route, method, parameters, mediaType } = operation;
  const user = String(1 + Math.floor(source.random() * USERS));
  const path = fillPath(operation, source, { user_id: user });
  const body = draw.body === null ? null : reconcile(draw.body, operation.template.includes('{user_id}') ? user : null);
  const headers: Record<string, string> = { authorization: `Bearer ${source.key}` };
  if (body !== null) headers['content-type'] = mediaType;
  const given = (part: Parameter['in']) =>
    parameters.filter((known) => known.in === part && known.name in draw.parameters);
  for (const { name } of given('header')) headers[name] = String(draw.parameters[name]);
  const query = given('query').map(({ name }) => `${name}=${encodeURIComponent(String(draw.parameters[name]))}`);
  const target = fitTarget(toLatin1(query.length === 0 ? path : `${path}?${query.join('&')}`));
  return { route, kind: 'valid', method, target, headers, body: body && Buffer.from(JSON.stringify(body)) };
}

/** What a schema of single fields cannot say: which fields have to agree, and which go together. */
function reconcile(body: Record<string, unknown>, user: string | null): Record<string, unknown> {
  const fitted = { ...body };
  if (user !== null && 'user_id' in fitted) fitted['user_id'] = Number(user);
  const { send_at, expires_at } = fitted;
  if (typeof send_at === 'string' && typeof expires_at === 'string' && send_at >= expires_at) delete fitted['send_at'];
  if ('user_ids' in fitted) delete fitted['expected_recipients'];
  if (!('expected_recipients' in fitted)) delete fitted['tolerance'];
  return fitted;
}
