import closeWithGrace from 'close-with-grace';

/** The signals that npm passes on to what it runs. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/**
 * A terminal's Ctrl-C reaches a process twice where npm's shell is bash: directly and through npm, milliseconds apart. Long
 * enough for a busy machine, and too short for a person who has seen that nothing happens.
 */
const SAME_SIGNAL_MS = 1_000;

type Stop = {
  /** A stop takes at most this long; then the process ends with 1, without having finished, and says so. */
  timeoutMs: number;
  logger: { error: (message?: unknown) => void };
  /** Called once, with the signal that asked for the stop or the error that nobody handled. */
  stop: (reason: { signal?: string | undefined; err?: Error | undefined }) => Promise<void>;
};

/**
 * Stops this process gracefully and ends it: with 0 after a signal, with 1 after an error that nobody handled. A second
 * signal ends it at once, with 1.
 */
export function stopGracefully({ timeoutMs, logger, stop }: Stop): void {
  let since: number | undefined;
  let received: string | undefined;
  const grace = closeWithGrace({ delay: timeoutMs, logger, skip: [...SIGNALS] }, async ({ err, signal = received }) => {
    since = Date.now();
    await stop({ err, signal });
  });
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      received ??= signal;
      if (since === undefined) grace.close();
      else if (Date.now() - since > SAME_SIGNAL_MS) {
        logger.error(`second ${signal}, exiting`);
        process.exit(1);
      }
    });
  }
}
