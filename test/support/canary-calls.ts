import type { Aviary } from './canaries.ts';

/** A route of the OpenAPI document. `fields` are those of its body; null: it takes none. */
export type Operation = {
  /** Like `PUT /users/{user_id}`. */
  name: string;
  method: string;
  template: string;
  isPublic: boolean;
  mediaType: string;
  fields: string[] | null;
};

export type Call = {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string | Uint8Array<ArrayBuffer>;
};

type Schema = { $ref?: string; properties?: Record<string, unknown> };
type Described = { security?: unknown[]; requestBody?: { content: Record<string, { schema: Schema }> } };
export type Document = {
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, Schema> };
};

/** What exists before it is read, what is read before it is deleted, what is paused or retried before it is canceled. */
const ORDER = [
  ...['POST /', 'PUT', 'PATCH', 'GET', 'POST /notifications/{id}/pause', 'POST /notifications/{id}/resume'],
  ...['POST /notifications/{id}/retry', 'POST'],
  ...['DELETE /preferences', 'DELETE'],
];

/** Every route of a document, in an order in which each can succeed. */
export function listOperations({ paths, components }: Document): Operation[] {
  const operations = Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, { security, requestBody }]): Operation => {
      const [mediaType = 'application/json', media] = Object.entries(requestBody?.content ?? {})[0] ?? [];
      const schema = media?.schema;
      const resolved = schema?.$ref === undefined ? schema : components.schemas[schema.$ref.split('/').at(-1) ?? ''];
      const called = method.toUpperCase();
      return {
        ...{ name: `${called} ${template}`, method: called, template, isPublic: security?.length === 0 },
        mediaType,
        fields: requestBody === undefined ? null : Object.keys(resolved?.properties ?? {}),
      };
    }),
  );
  return operations.toSorted((one, other) => rank(one) - rank(other));
}

function rank({ name, template }: Operation): number {
  return ORDER.findIndex((start) => name.startsWith(start) && (start !== 'POST /' || !template.includes('{')));
}

/** What a call is made for: a user and a notification of its own. */
export type Subject = { userId: number; notificationId: string };

/** The path of a route, for a subject. */
export function fillPath({ template }: Operation, { userId, notificationId }: Subject): string {
  return template.replace('{user_id}', String(userId)).replace('{id}', notificationId);
}

/** A body that the route accepts, with a canary wherever it takes text. */
export function fillBody({ fields }: Operation, { userId }: Subject, { mint }: Aviary): Record<string, unknown> {
  const values: Record<string, () => unknown> = {
    ...{ user_id: () => userId, email_enabled: () => true, sms_enabled: () => true },
    ...{ email: () => mint('email'), phone: () => mint('phone') },
    ...{ payload: () => mint('payload'), subject: () => mint('subject') },
    ...{ user_ids: () => [userId], channels: () => ['email', 'sms'] },
    // Every other one waits, so that it can be canceled.
    send_at: () => (userId % 2 === 0 ? '2099-01-01T00:00:00Z' : undefined),
    // For everyone only.
    ...{ expires_at: () => undefined, expected_recipients: () => undefined, tolerance: () => undefined },
  };
  const entries = (fields ?? []).map((field) => {
    const value = values[field];
    if (value === undefined) throw new Error(`Nobody has said what to send as ${field}.`);
    return [field, value()];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}

/** Headers with a canary in each. None of them decides what becomes of the call. */
export function fillHeaders({ mint }: Aviary): Record<string, string> {
  return {
    cookie: `session=${mint('header')}; email=${encodeURIComponent(mint('email'))}`,
    'user-agent': `agent/${mint('header')}`,
    referer: `https://example.com/?email=${mint('email')}&subject=${mint('subject')}`,
    'x-forwarded-for': `${mint('header')}, 10.0.0.1`,
    'x-forwarded-host': mint('header'),
    forwarded: `for=${mint('header')}`,
    'x-request-id': `${mint('email')} ${mint('phone')}`,
    'idempotency-key': mint('idempotency_key'),
    traceparent: mint('header'),
    prefer: `wait=${mint('header')}`,
    [`x-${mint('header')}`]: mint('phone'),
  };
}

type Fault = (operation: Operation, subject: Subject, aviary: Aviary) => Partial<Call>;

/** Bodies that are too large, by the limit of most routes. */
const TOO_LARGE_CHARS = 20_000;
const TOO_DEEP_LEVELS = 40;

const encoder = new TextEncoder();

/** All that a caller can get wrong about a call, with canaries in it. Each replaces parts of an otherwise right call. */
export const FAULTS: Record<string, Fault> = {
  'unknown query': (operation, subject, { mint }) => ({
    path: `${fillPath(operation, subject)}?${mint('field_name')}=${mint('query')}&${mint('field_name')}=${mint('query')}&email=${mint('email')}&limit=${mint('query')}&cursor=${mint('query')}&status=${mint('query')}&user_id=${mint('query')}&object=${mint('query')}%00`,
  }),
  'canary in the path': (operation, _subject, { mint }) => {
    const path = operation.template.replaceAll(/\{\w+\}/g, () => encodeURIComponent(mint('email')));
    return { path: path === operation.template ? `${path}/${mint('path')}` : path };
  },
  'unknown path': ({ template }, _subject, { mint }) => ({
    path: `/${mint('path')}/${mint('path')}${template}/${mint('path')}/${encodeURIComponent(mint('phone'))}?key=${mint('query')}`,
  }),
  'unreadable path': ({ template }, _subject, { mint }) => ({
    path: `${template}/${mint('path')}/${mint('path')}/%zz${mint('path')}`,
  }),
  'unknown fields': (operation, subject, aviary) => ({
    body: JSON.stringify({
      ...fillBody(operation, subject, aviary),
      ...{ [aviary.mint('field_name')]: aviary.mint('value'), [aviary.mint('field_name')]: [aviary.mint('value')] },
      ...{ [aviary.mint('field_name')]: { [aviary.mint('field_name')]: aviary.mint('value') } },
    }),
  }),
  'wrong types': ({ fields }, _subject, { mint }) => ({
    body: JSON.stringify(
      Object.fromEntries((fields ?? []).map((field, n) => [field, n % 2 ? [mint('value')] : { to: mint('email') }])),
    ),
  }),
  'wrong texts': ({ fields }, _subject, { mint }) => ({
    body: JSON.stringify(
      Object.fromEntries((fields ?? []).map((field) => [field, `\0${mint('payload')} \ud800${mint('phone')}`])),
    ),
  }),
  'no object': (_operation, _subject, { mint }) => ({ body: JSON.stringify(`${mint('payload')}\n"${mint('email')}`) }),
  'unfinished JSON': (_operation, _subject, { mint }) => ({
    body: `{"email": "${mint('email')}", "payload": "${mint('payload')}`,
  }),
  'bare words': (_operation, _subject, { mint }) => ({
    body: `{${mint('field_name')}: ${mint('value')}, ${mint('field_name')}: ${mint('subject')}, ${mint('value')}}`,
  }),
  'prototype keys': (_operation, _subject, { mint }) => ({
    body: `{"__proto__": {"payload": "${mint('payload')}"}, "constructor": {"prototype": "${mint('value')}"}}`,
  }),
  'invalid UTF-8': (_operation, _subject, { mint }) => ({
    body: Uint8Array.from([
      ...encoder.encode(`{"payload": "${mint('payload')}`),
      0xc3,
      ...encoder.encode(`(${mint('email')}"}`),
    ]),
  }),
  'too large': ({ template }, _subject, { mint }) => ({
    body: JSON.stringify({ payload: mint('payload').padEnd(TOO_LARGE_CHARS), subject: mint('subject'), template }),
  }),
  'too deep': (_operation, _subject, { mint }) => ({
    body:
      '['.repeat(TOO_DEEP_LEVELS) +
      JSON.stringify({ [mint('field_name')]: [mint('value'), mint('value')] }) +
      ']'.repeat(TOO_DEEP_LEVELS),
  }),
  'wrong media type': (_operation, _subject, { mint }) => ({
    headers: { 'content-type': `application/${mint('header')}; charset=${mint('header')}` },
    body: `<payload>${mint('payload')}</payload>`,
  }),
  form: (_operation, _subject, { mint }) => ({
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: `email=${encodeURIComponent(mint('email'))}&phone=${encodeURIComponent(mint('phone'))}`,
  }),
  'no method': (operation, subject, { mint }) => ({
    method: 'PROPFIND',
    path: `${fillPath(operation, subject)}?subject=${mint('subject')}`,
    body: JSON.stringify({ payload: mint('payload') }),
  }),
  'long idempotency key': (_operation, _subject, { mint }) => ({
    headers: { 'idempotency-key': mint('idempotency_key').padEnd(300, 'x') },
  }),
};

/** HTTP that is none, or hardly any, with canaries in every part of it. */
export function breakHttp({ mint }: Aviary): string[] {
  const post = 'POST /notifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
  return [
    `${mint('path')} ${mint('email')} ${mint('header')}\r\n\r\n`,
    `GET /${mint('path')} HTTP/9.9\r\nHost: ${mint('header')}\r\n\r\n`,
    `GET ${mint('path')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    `GET http://${mint('email')}/${mint('path')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    `CONNECT ${mint('path')}:443 HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    `TRACE /users?email=${mint('email')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    `GET /users HTTP/1.1\r\nConnection: close\r\nX-Email: ${mint('email')}\r\n\r\n`,
    `GET /users HTTP/1.1\r\nHost: localhost\r\n${mint('header')} ${mint('header')}: ${mint('phone')}\r\n\r\n`,
    `GET /users HTTP/1.1\r\nHost: localhost\r\nX-Key: ${mint('header')}\0${mint('wrong_api_key')}\r\n\r\n`,
    `GET /users HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: ${mint('header').padEnd(20_000, 'x')}\r\n\r\n`,
    `GET /users HTTP/1.1\r\nHost: localhost\r\nExpect: ${mint('header')}\r\nConnection: close\r\n\r\n`,
    `GET /users HTTP/1.1\r\nHost: localhost\r\nUpgrade: ${mint('header')}\r\nConnection: upgrade\r\n\r\n${mint('value')}`,
    `${post}Content-Length: ${mint('value')}\r\n\r\n{"payload": "${mint('payload')}"}`,
    `${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n${mint('payload')}`,
    `${post}Transfer-Encoding: chunked\r\n\r\n${mint('payload')}\r\n${mint('email')}\r\n`,
    `${post}Transfer-Encoding: ${mint('header')}\r\n\r\n${mint('payload')}`,
    `${post}Content-Length: 500\r\n\r\n{"payload": "${mint('payload')}", "subject": "${mint('subject')}`,
    `${post}Content-Encoding: ${mint('header')}\r\nContent-Length: 40\r\nConnection: close\r\n\r\n${mint('payload').padEnd(40)}`,
  ];
}
