/** `passing` is for whoever has little to send, `slow` for the rest. */
type Lane = 'passing' | 'slow';

export type Lanes = {
  /** Runs a task when it is its turn, and resolves or rejects as the task does. */
  run: <Result>(lane: Lane, task: () => Promise<Result>) => Promise<Result>;
};

/**
 * Runs at most `concurrency` tasks at a time, those of a lane in the order they came. While both lanes wait, they take
 * turns: a long queue in one delays the other by one task at most.
 */
export function createLanes(concurrency: number): Lanes {
  const waiting: Record<Lane, (() => void)[]> = { passing: [], slow: [] };
  let running = 0;
  let last: Lane = 'slow';
  const startNext = () => {
    if (running === concurrency) return;
    const preferred: Lane = last === 'slow' ? 'passing' : 'slow';
    const lane = waiting[preferred].length > 0 ? preferred : last;
    const start = waiting[lane].shift();
    if (start === undefined) return;
    last = lane;
    running += 1;
    start();
  };
  return {
    async run(lane, task) {
      await new Promise<void>((resolve) => {
        waiting[lane].push(resolve);
        startNext();
      });
      try {
        return await task();
      } finally {
        running -= 1;
        startNext();
      }
    },
  };
}
