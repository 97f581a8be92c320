import type { Logger } from 'pino';
import type { Database } from '../database.ts';
import { createPace, type Report } from './pace.ts';
import { createQuota } from './quota.ts';

/** Decides when a batch may go to SNS. */
export type Governor = {
  /** The entries of a batch, at most. */
  batchMax: number;
  /** Resolves when a batch of so many messages may be sent, in the order of the calls. Rejects when `signal` is aborted. */
  admit: (messages: number, signal: AbortSignal) => Promise<void>;
  /** Takes note of what SNS said to a call. */
  report: (report: Report) => void;
};

/** The most entries of a PublishBatch (AWS SNS quotas). */
const BATCH_ENTRIES_MAX = 10;
/** A batch goes at once, and must not be much of what a second is for: with this, 2.5 % of what 10 s are for. */
const BATCHES_PER_SECOND_MIN = 4;
/** How often those who wait for slots look whether it is time to reserve more. */
const CHECK_MS = 20;

type Deps = {
  db: Database;
  topicArn: string;
  /** Messages a second, by all processes together; undefined: only what SNS throttles slows down. */
  rateLimit: number | undefined;
  log: Pick<Logger, 'info' | 'warn' | 'error'>;
};

type Waiter = { messages: number; enter: () => void };

/** Governs the batches of this process: by the limit that it shares with others, and by what SNS takes. */
export function createGovernor({ db, topicArn, rateLimit, log }: Deps): Governor {
  const batchMax = limitBatch(rateLimit);
  const waiting: Waiter[] = [];
  /** Runs only while somebody waits. */
  let timer: NodeJS.Timeout | undefined;
  const serve = () => {
    clearTimeout(timer);
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      const { messages, enter } = first;
      const waitMs = Math.max(pace.findTurn(), quota?.findTurn(messages) ?? 0) - performance.now();
      if (waitMs > 0) {
        timer = setTimeout(serve, quota === null ? waitMs : Math.min(waitMs, CHECK_MS));
        break;
      }
      waiting.shift();
      pace.take(messages);
      quota?.take(messages);
      enter();
    }
    quota?.reserveAhead(waiting.map(({ messages }) => messages));
  };
  const pace = createPace(log);
  const quota =
    rateLimit === undefined
      ? null
      : createQuota({ db, limit: { topicArn, rate: rateLimit }, log, batchMax, onReserved: serve });
  return {
    batchMax,
    report: pace.report,
    async admit(messages, signal) {
      signal.throwIfAborted();
      // Mostly nothing is in the way, and then nothing is made to wait with.
      if (quota === null && waiting.length === 0 && pace.findTurn() <= performance.now()) pace.take(messages);
      else await wait(waiting, { messages, signal, serve });
    },
  };
}

function limitBatch(rateLimit = Number.POSITIVE_INFINITY): number {
  return Math.max(1, Math.min(BATCH_ENTRIES_MAX, Math.floor(rateLimit / BATCHES_PER_SECOND_MIN)));
}

type Arrival = { messages: number; signal: AbortSignal; serve: () => void };

async function wait(waiting: Waiter[], { messages, signal, serve }: Arrival): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const enter = () => {
      signal.removeEventListener('abort', leave);
      resolve();
    };
    const waiter = { messages, enter };
    const leave = () => {
      waiting.splice(waiting.indexOf(waiter), 1);
      reject(signal.reason);
      serve();
    };
    signal.addEventListener('abort', leave, { once: true });
    waiting.push(waiter);
    serve();
  });
}
