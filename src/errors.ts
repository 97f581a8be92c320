/**
 * Every way this service says no: code, HTTP status, what it means. Codes are part of the contract and never change;
 * texts may.
 */
export const ERRORS = {
  preference_not_found: [404, 'No preferences are stored for this user.'],
  preference_exists: [409, 'Preferences are already stored for this user. Change them with PUT or PATCH.'],
  user_not_found: [404, 'No user has this id.'],
  notification_not_found: [404, 'No notification has this id.'],
  illegal_transition: [409, 'The notification is not in a state that allows this.'],
  idempotency_key_reused: [422, 'This Idempotency-Key was used before with another request.'],
  payload_too_large: [413, 'Subject and payload do not fit one SNS message of 256 KiB.'],

  audience_mismatch: [409, 'The audience is not the expected one. Nothing was sent.'],
  broadcast_limit_reached: [429, 'This caller has sent as many broadcasts as it may within an hour. Nothing was sent.'],
  daily_recipients_reached: [429, 'This caller may not tell that many more recipients today. Nothing was sent.'],

  credentials_missing: [401, 'This call needs credentials: `Authorization: Bearer …`.'],
  credentials_invalid: [401, 'The credentials are unknown, expired, revoked, or meant for another service.'],
  scope_missing: [403, 'The credentials do not allow this call.'],
  too_many_requests: [429, 'Too many requests. Try again later.'],

  validation_failed: [400, 'The request is not valid.'],
  malformed_request: [400, 'The request cannot be read.'],
  route_not_found: [404, 'Nothing is served under this path.'],
  method_not_allowed: [405, 'This path does not support the method.'],
  request_timeout: [408, 'The request took too long to arrive.'],
  body_too_large: [413, 'The request body is too large.'],
  unsupported_media_type: [415, 'The media type or the encoding of the request body is not supported.'],
  headers_too_large: [431, 'The request headers are too large.'],
  internal_error: [500, 'Something went wrong on our side. The request id finds it in our logs.'],
  overloaded: [503, 'The service is overloaded at the moment. Try again shortly.'],
  credentials_unverifiable: [
    503,
    'The issuer of these credentials cannot be reached at the moment. Try again shortly.',
  ],
  unavailable: [503, 'The service cannot reach its database at the moment. Try again shortly.'],
} as const satisfies Record<string, readonly [status: number, message: string]>;

export type ErrorCode = keyof typeof ERRORS;

/** What a refusal may say beside its text. */
export type RefusalDetails = {
  /** After how long another try may succeed. */
  retryAfterSeconds?: number;
  /** More members of the problem document (RFC 9457, section 3.2), for programs. */
  members?: Record<string, unknown>;
};

/** A refusal with a code of the table, thrown by the domain and rendered by `http/problem.ts`. */
export class ServiceError extends Error {
  readonly code: ErrorCode;
  readonly details: RefusalDetails;

  /** `message` replaces the table's text where more can be said. */
  constructor(code: ErrorCode, message: string = ERRORS[code][1], details: RefusalDetails = {}) {
    super(message);
    this.name = 'ServiceError';
    this.code = code;
    this.details = details;
  }
}
