/** Wakes loops that wait for work. */
export type Bell = {
  /** Wakes one waiting loop; without one, the next wait returns at once, so that no call is missed. */
  ring: () => void;
  ringAll: () => void;
  /** Resolves when rung, or after `timeoutMs`. */
  wait: (timeoutMs: number) => Promise<void>;
};

export function createBell(): Bell {
  const waiting = new Set<() => void>();
  let missed = false;
  return {
    ring() {
      const [first] = waiting;
      if (first === undefined) missed = true;
      else first();
    },
    ringAll() {
      for (const wake of [...waiting]) wake();
    },
    wait(timeoutMs) {
      if (missed) {
        missed = false;
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, timeoutMs);
        waiting.add(wake);
      });
    },
  };
}
