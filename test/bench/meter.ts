/** What a process has used since it was last reset. */
export type Usage = {
  /** CPU time of all its threads. */
  cpuSeconds: number;
  /** Resident memory, of samples: the most, and half of them had less than the median. */
  peakBytes: number;
  medianBytes: number;
};

/** Between two samples of the resident memory: a hundred in the shortest run that is measured for it. */
const SAMPLE_MS = 50;

/** Measures the process it is in. Each sample reads one small file: together far below a thousandth of a core. */
export function createMeter(): { reset: () => void; read: () => Usage } {
  let begin = process.cpuUsage();
  let samples: number[] = [];
  const timer = setInterval(() => samples.push(process.memoryUsage.rss()), SAMPLE_MS);
  timer.unref();
  return {
    reset() {
      begin = process.cpuUsage();
      samples = [];
    },
    read() {
      const { user, system } = process.cpuUsage(begin);
      const sorted = [...samples, process.memoryUsage.rss()].toSorted((a, b) => a - b);
      const medianBytes = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
      return { cpuSeconds: (user + system) / 1e6, peakBytes: sorted.at(-1) ?? Number.NaN, medianBytes };
    },
  };
}
