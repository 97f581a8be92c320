import type { CallResult, Measures } from './measures.ts';
import type { NoteCall } from './outage.ts';

/** For one call in all, whatever part of it is slow: credentials, the connection, the head or the body of the answer. */
const CALL_TIMEOUT_MS = 5_500;

/** Errors by which SNS refuses what was asked, whenever it is asked again (AWS SNS API, PublishBatch, "Errors"). */
export const REFUSALS =
  /^(Invalid(Parameter|ParameterValue|BatchEntryId)|BatchRequestTooLong|ValidationError|Validation)(Exception)?$/;

/** Codes by which SNS asks for patience; never a reason to give a message up. */
export const THROTTLING = /throttl|TooManyRequests|RequestLimitExceeded/i;

/** What matters here of the reply to a PublishBatch. */
type Reply = { Successful?: unknown[] | undefined; Failed?: FailedEntry[] | undefined };
type FailedEntry = { Code?: string | undefined; SenderFault?: boolean | undefined };

/**
 * Makes a call to SNS: gives it up after its time or when `signal` is aborted, even if it heeds neither, measures it, and
 * notes what became of it. Throws what `call` throws, or what ended it.
 */
export async function watchCall<Answer extends Reply>(
  { measures, noteCall, signal }: { measures: Measures; noteCall: NoteCall; signal: AbortSignal },
  call: (signal: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  const startedAt = performance.now();
  const observe = (result: CallResult) => measures.observeCall(result, (performance.now() - startedAt) / 1_000);
  try {
    const answer = await withinTime(signal, call);
    noteCall('answered');
    observe(judgeReply(answer));
    countEntries(measures, answer);
    return answer;
  } catch (error) {
    noteCall(signal.aborted ? 'abandoned' : isOutage(error) ? 'failed' : 'answered');
    if (!signal.aborted) observe(judgeError(error as Error));
    throw error;
  }
}

async function withinTime<Answer>(signal: AbortSignal, call: (signal: AbortSignal) => Promise<Answer>) {
  signal.throwIfAborted();
  const controller = new AbortController();
  const leave = () => controller.abort(signal.reason);
  signal.addEventListener('abort', leave);
  const late = () => controller.abort(new Error(`SNS has not answered within ${CALL_TIMEOUT_MS} ms`));
  const timer = setTimeout(late, CALL_TIMEOUT_MS);
  try {
    return await Promise.race([call(controller.signal), untilAborted(controller.signal)]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', leave);
  }
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
}

/** No answer at all, or one by which SNS says that it cannot. Throttling comes with any status. */
function isOutage(error: unknown): boolean {
  const { name, $metadata } = error as { name: string; $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  return !THROTTLING.test(name) && (status === undefined || status >= 500);
}

function judgeError({ name }: Error): CallResult {
  if (THROTTLING.test(name)) return 'throttled';
  return REFUSALS.test(name) ? 'refused' : 'failed';
}

function judgeReply({ Successful = [], Failed = [] }: Reply): CallResult {
  if (Failed.length === 0) return 'taken';
  return Successful.length === 0 && Failed.every(isThrottled) ? 'throttled' : 'partial';
}

function countEntries({ publish }: Measures, { Failed = [] }: Reply): void {
  for (const entry of Failed) {
    if (isThrottled(entry)) continue;
    publish.entries_failed[entry.SenderFault === true ? 'sender' : 'service'] += 1;
  }
}

const isThrottled = ({ Code = '' }: FailedEntry) => THROTTLING.test(Code);
