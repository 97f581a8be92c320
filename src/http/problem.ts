import { STATUS_CODES } from 'node:http';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { isDatabaseUnavailable } from '../database.ts';
import { ERRORS, type ErrorCode, ServiceError } from '../errors.ts';
import { FAULTS_MAX, type Fault, listFaults, ValidationError } from './validation.ts';

/** After how many seconds a client may try again while the database is away. */
const RETRY_AFTER_SECONDS = 2;
/** An error as every call answers it (RFC 9457). `code` is stable, texts are not. */
const problemSchema = z
  .looseObject({
    type: z.literal('about:blank').describe('The status says it all; `code` says it exactly.'),
    title: z.string().describe('The name of the status.'),
    status: z.int().min(400).max(599).describe('The HTTP status.'),
    detail: z.string().describe('What went wrong, for people.'),
    instance: z
      .string()
      .describe('This occurrence: `/requests/` and the request id, as in `x-request-id` and our logs.'),
    code: z
      .enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]])
      .describe('What went wrong, for programs. Never changes.'),
    errors: z
      .array(
        z.object({
          in: z.enum(['body', 'path', 'query', 'headers']).describe('The part of the request.'),
          pointer: z.string().describe('A JSON pointer (RFC 6901) to the value at fault.'),
          detail: z.string().describe('What is wrong with it, for people.'),
        }),
      )
      .optional()
      .describe(`With \`validation_failed\`: everything wrong at once, ${FAULTS_MAX} faults at most.`),
    scopes: z.array(z.string()).optional().describe('With `scope_missing`: the scopes of which one is needed.'),
    recipients: z.int().optional().describe('With `audience_mismatch`: how many would have been told.'),
    lines: z
      .int()
      .optional()
      .describe('Of an import that broke off: all lines up to this number are stored or rejected, as far as is known.'),
    stored: z.int().optional().describe('Of an import that broke off: how many of these lines are stored.'),
  })
  .meta({ id: 'Problem' });

/** Renders every error of every route as a problem. An unexpected one tells the client nothing and the log everything. */
export function renderError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const code = findCode(error);
  if (code === 'internal_error') request.log.error({ err: error }, 'unexpected error');
  if (code === 'unavailable') request.log.warn({ err: error }, 'database unavailable');
  const { retryAfterSeconds = RETRY_AFTER_SECONDS, members = {} } = error instanceof ServiceError ? error.details : {};
  if (RETRYABLE.has(ERRORS[code][0])) void reply.header('retry-after', retryAfterSeconds);
  const challenge = CHALLENGES[code];
  if (challenge !== undefined) void reply.header('www-authenticate', challenge(members));
  const detail = error instanceof ServiceError ? error.message : describe(code, error);
  const more = error instanceof ValidationError ? { errors: listFaults(error) } : members;
  // As text, it passes the route's own response schema by.
  const problem = composeProblem(request.id, code, detail, more);
  return reply.code(ERRORS[code][0]).type('application/problem+json').send(problem);
}

/** Statuses that ask for another try later. */
const RETRYABLE = new Set<number>([429, 503]);

/** `WWW-Authenticate` (RFC 6750, section 3): what a caller has to do about a refusal. */
const CHALLENGES: { [code in ErrorCode]?: (members: { scopes?: string[] }) => string } = {
  credentials_missing: () => 'Bearer realm="notifications"',
  credentials_invalid: () => 'Bearer realm="notifications", error="invalid_token"',
  scope_missing: ({ scopes = [] }) =>
    `Bearer realm="notifications", error="insufficient_scope", scope="${scopes.join(' ')}"`,
};

/** The text of a problem; `members` are those beside the standard ones. */
export function composeProblem(
  requestId: string,
  code: ErrorCode,
  detail: string = ERRORS[code][1],
  members: object = {},
) {
  const status = ERRORS[code][0];
  const instance = `/requests/${requestId}`;
  return JSON.stringify({
    type: 'about:blank',
    title: STATUS_CODES[status],
    status,
    detail,
    instance,
    code,
    ...members,
  });
}

/** Fastify's own codes that have a problem of their own; any other refusal of a request is `malformed_request`. */
const FASTIFY_CODES: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
};

function findCode(error: unknown): ErrorCode {
  if (error instanceof ServiceError) return error.code;
  if (error instanceof ValidationError) return 'validation_failed';
  const { code = '', statusCode = 500 } = error as Partial<FastifyError>;
  if (statusCode < 500) return FASTIFY_CODES[code] ?? 'malformed_request';
  return isDatabaseUnavailable(error) ? 'unavailable' : 'internal_error';
}

/** What Fastify says of a body it cannot parse speaks of the syntax; its other messages may quote the request. */
function describe(code: ErrorCode, error: unknown): string {
  const { code: cause = '', message = '' } = error as Partial<FastifyError>;
  // Routes that take anything else look at the type before Fastify does.
  if (code === 'unsupported_media_type') return 'The request body must be application/json.';
  return code === 'malformed_request' && cause.startsWith('FST_ERR_CTP_') ? message : ERRORS[code][1];
}

/** What any call of a route that is not for everyone may answer. */
const ALWAYS = [
  ...([
    'validation_failed',
    'malformed_request',
    'credentials_missing',
    'credentials_invalid',
    'scope_missing',
  ] as const),
  ...(['too_many_requests', 'internal_error', 'overloaded', 'credentials_unverifiable', 'unavailable'] as const),
] as const;
/** What a call that may carry a body answers to a wrong one. */
export const BODY_PROBLEMS = ['body_too_large', 'unsupported_media_type'] as const;

/** The responses of a route that are problems, for its schema: `problems('user_not_found')`. Each names all its codes. */
export function problems<Code extends ErrorCode = never>(...codes: Code[]) {
  const responses: Record<number, ProblemResponse> = {};
  for (const code of [...codes, ...ALWAYS]) {
    const [status, message] = ERRORS[code];
    const known = responses[status];
    const line = `\`${code}\`: ${message}`;
    responses[status] = {
      description: known ? `${known.description}\n\n${line}` : line,
      content: {
        'application/problem+json': {
          schema: problemSchema,
          examples: {
            ...known?.content['application/problem+json'].examples,
            [code]: { $ref: `#/components/examples/${code}` },
          },
        },
      },
    };
  }
  return responses as Record<(typeof ERRORS)[Code | (typeof ALWAYS)[number]][0], ProblemResponse>;
}

export type ProblemResponse = {
  description: string;
  content: { 'application/problem+json': { schema: typeof problemSchema; examples: Record<string, { $ref: string }> } };
};

/** A problem of every code, as the examples of the document. */
export function showProblems(): Record<string, { summary: string; value: unknown }> {
  const fault: Fault = { in: 'body', pointer: '/user_id', detail: 'Too small: expected number to be >=1' };
  const members: Record<string, object> = {
    validation_failed: { errors: [fault] },
    scope_missing: { scopes: ['preferences:write'] },
    audience_mismatch: { recipients: 48_211 },
  };
  const examples = Object.entries(ERRORS).map(([code, [, summary]]) => {
    const text = composeProblem('0193f0a2-5b1c-7f3e-8a7d-1c2b3a4d5e6f', code as ErrorCode, undefined, members[code]);
    return [code, { summary, value: JSON.parse(text) }];
  });
  return Object.fromEntries(examples);
}
