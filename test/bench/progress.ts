const BAR_CHARS = 30;
/** Between two drawings. */
const DRAW_MS = 100;

export type ProgressBar = {
  /** `share` is of all benchmarks together, from 0 to 1. */
  show: (text: string, share: number) => void;
  clear: () => void;
};

/** A bar on the terminal, beside what is printed; none where there is no terminal. */
export function createProgressBar(stream: NodeJS.WriteStream): ProgressBar {
  let drawnAt = Number.NEGATIVE_INFINITY;
  const clear = () => {
    if (stream.isTTY) stream.write('\r\u001b[K');
    drawnAt = Number.NEGATIVE_INFINITY;
  };
  return {
    show(text, share) {
      if (!stream.isTTY || performance.now() - drawnAt < DRAW_MS) return;
      drawnAt = performance.now();
      const bar = '='.repeat(Math.floor(Math.min(share, 1) * BAR_CHARS)).padEnd(BAR_CHARS);
      stream.write(`\r\u001b[K${String(Math.floor(share * 100)).padStart(3)} % [${bar}] ${text}`);
    },
    clear,
  };
}
