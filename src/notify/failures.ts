import { STATUS_CODES } from 'node:http';
import type { Problem } from './replies.ts';
import { showDuration, showLine, showNumber } from './terminal-text.ts';

/** What is shown of a problem's text, in characters, and how many of its faults. */
const DETAIL_CHARS_MAX = 500;
const FAULTS_SHOWN = 20;
/** Whoever has to wait for longer is told so instead. */
const RETRY_AFTER_SECONDS_MAX = 60;
/** Statuses after which the same call may succeed: too many calls, or a service or its balancer that is away for a while. */
const TEMPORARY = new Set([429, 502, 503, 504]);
/** Those of them after which the call may have been carried out all the same. */
const UNCERTAIN = new Set([502, 503, 504]);

/** What ends the command with 1 and one message. */
export class NotifyError extends Error {
  /** Whether the same call may succeed later. */
  readonly temporary: boolean = false;
  /** Whether the service may have done what it was asked for. */
  readonly uncertain: boolean = false;
  /** After how long it may be tried again; 0 where that is not said. */
  readonly retryAfterSeconds: number = 0;
}

/** Nobody answered, or not to the end. */
export class NoAnswerError extends NotifyError {
  override readonly temporary: boolean;
  override readonly uncertain: boolean;

  constructor(url: string, cause: unknown) {
    const reason = findReason(cause);
    const isInsecure = NEVER_SECURE.test(reason);
    super(`${isInsecure ? 'no TLS connection to' : 'no answer from'} ${url} (${reason})`);
    this.temporary = !isInsecure;
    this.uncertain = !isInsecure && !NEVER_ARRIVED.test(reason);
  }
}

/** The service, or somebody before it, said no. */
export class RefusedError extends NotifyError {
  override readonly temporary: boolean;
  override readonly uncertain: boolean;
  override readonly retryAfterSeconds: number;

  /** `problem` is null when the answer is none of the service's. */
  constructor(url: string, { status, headers }: Response, problem: Problem | null) {
    const [retryAfter = 0] = (/^\d{1,9}$/.exec(headers.get('retry-after') ?? '') ?? []).map(Number);
    const isFar = retryAfter > RETRY_AFTER_SECONDS_MAX;
    const described = problem === null ? describeStranger(url, status) : describeProblem(status, problem);
    super(isFar ? `${described}\nIt may be tried again in ${showDuration(retryAfter)}.` : described);
    this.retryAfterSeconds = retryAfter;
    this.temporary = TEMPORARY.has(status) && !isFar;
    this.uncertain = UNCERTAIN.has(status);
  }
}

/** What answered is no notification service, or one of another time. */
export class StrangeAnswerError extends NotifyError {
  constructor(url: string, what: string) {
    super(`${url} does not answer as a notification service does: ${what}`);
  }
}

/** Errors of a connection that was never made; `bad port` is one that `fetch` refuses. */
const NEVER_ARRIVED = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|bad port)$/;
/**
 * Errors of TLS, as Node and OpenSSL name them: both sides do not speak it, or a certificate is refused. Nothing is sent
 * before, and no further try changes it. The two that are left out end a connection that was fine.
 */
const NEVER_SECURE = /^(EPROTO$|ERR_TLS_|UNABLE_TO_|ERR_SSL_(?!.*(BAD_RECORD_MAC|UNEXPECTED_EOF)))|CERT/;

/** `fetch` says that it failed, and its cause says why. */
function findReason(error: unknown): string {
  if (!(error instanceof Error)) return showLine(String(error));
  if (error.name === 'TimeoutError') return 'it took too long';
  const { cause = error } = error;
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return showLine(cause.code);
  return showLine(cause instanceof Error ? cause.message : error.message);
}

function describeStranger(url: string, status: number): string {
  const title = STATUS_CODES[status] ?? 'an unknown status';
  return `${url} answered ${status} (${title}), and not as a notification service does`;
}

function describeProblem(status: number, problem: Problem): string {
  const { title, detail, code, errors, recipients } = problem;
  if (code === 'audience_mismatch' && recipients !== undefined) return describeMismatch(recipients);
  const faults = errors
    .slice(0, FAULTS_SHOWN)
    .map((fault) => `  ${showLine(fault.in)} ${showLine(fault.pointer)}: ${showLine(fault.detail, DETAIL_CHARS_MAX)}`);
  const left = errors.length - faults.length;
  return [
    `${status} ${showLine(title)}: ${showLine(detail, DETAIL_CHARS_MAX)}`,
    ...faults,
    ...(left > 0 ? [`  and ${showNumber(left)} more`] : []),
    ...(status === 401 ? ['The variable API_KEY takes the key to call with.'] : []),
  ].join('\n');
}

function describeMismatch(recipients: number): string {
  const now = `${showNumber(recipients)} users would be told now`;
  return `the audience has changed since it was counted: ${now}. Nothing was sent; run it again to see the new counts.`;
}
