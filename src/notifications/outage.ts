import type { Logger } from 'pino';

/** Says what became of a call: `failed` without an answer, or by one that means the same; `abandoned` when nobody waits for it. */
export type NoteCall = (result: 'answered' | 'failed' | 'abandoned') => void;

/** Keeps a process from hammering an SNS that is away. */
export type Outage = {
  /**
   * Resolves when a call may go and `admit` has let it. While SNS is away that is one call at a time, one in
   * `probeIntervalMs` at most. Rejects when `signal` is aborted.
   */
  enter: (admit: () => Promise<void>, signal: AbortSignal) => Promise<NoteCall>;
  isOn: () => boolean;
};

/** How often it is found out whether SNS is back. */
export const PROBE_INTERVAL_MS = 1_000;
/**
 * Calls in a row that have to fail. One lost answer in twenty is no outage: three in a row come once in 8,000 calls then, and
 * cost the time of one call, as the first probe goes at once.
 */
const FAILURES_MIN = 3;

type Deps = { probeIntervalMs: number; log: Pick<Logger, 'info' | 'warn'>; onChange: (isOn: boolean) => void };

/** One for all batches of a process. */
export function createOutage({ probeIntervalMs, log, onChange }: Deps): Outage {
  const waiting: ((isProbe: boolean) => void)[] = [];
  let failures = 0;
  /** When it began; null: SNS answers. */
  let since: number | null = null;
  let probing = false;
  let probedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  const serve = () => {
    clearTimeout(timer);
    if (since === null) {
      for (const go of waiting.splice(0)) go(false);
    } else if (!probing && waiting.length > 0) {
      const waitMs = probedAt + probeIntervalMs - performance.now();
      if (waitMs > 0) timer = setTimeout(serve, waitMs);
      else {
        [probing, probedAt] = [true, performance.now()];
        waiting.shift()?.(true);
      }
    }
  };
  const begin = () => {
    since = performance.now();
    log.warn('SNS is away; one call a second goes until it answers');
    onChange(true);
  };
  const end = (begun: number) => {
    since = null;
    log.info({ seconds: Math.round((performance.now() - begun) / 1_000) }, 'SNS answers again');
    onChange(false);
  };
  const note = (result: Parameters<NoteCall>[0], isProbe: boolean) => {
    if (isProbe) probing = false;
    if (result === 'failed') failures += 1;
    if (result === 'answered') failures = 0;
    if (since === null && failures >= FAILURES_MIN) begin();
    else if (since !== null && failures === 0) end(since);
    serve();
  };
  return {
    async enter(admit, signal) {
      for (;;) {
        const isProbe = since !== null && (await waitForTurn(waiting, signal, serve));
        try {
          await admit();
        } catch (error) {
          note('abandoned', isProbe);
          throw error;
        }
        // An outage may have begun meanwhile.
        if (isProbe || since === null) return (result) => note(result, isProbe);
      }
    },
    isOn: () => since !== null,
  };
}

/** Resolves to whether this is the call that finds out, or the outage is over. */
async function waitForTurn(waiting: ((isProbe: boolean) => void)[], signal: AbortSignal, serve: () => void) {
  signal.throwIfAborted();
  return new Promise<boolean>((resolve, reject) => {
    const go = (isProbe: boolean) => {
      signal.removeEventListener('abort', leave);
      resolve(isProbe);
    };
    const leave = () => {
      waiting.splice(waiting.indexOf(go), 1);
      reject(signal.reason);
    };
    signal.addEventListener('abort', leave, { once: true });
    waiting.push(go);
    serve();
  });
}
