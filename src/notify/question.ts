import { createInterface } from 'node:readline';

type Terminal = {
  input: NodeJS.ReadableStream;
  output: { write: (text: string) => unknown };
  /** Aborted: the answer is no. */
  signal: AbortSignal;
};

/**
 * Asks on a terminal. Anything but a yes is a no, and so is the end of the input. Reads whole lines, so that Ctrl-C stays a
 * signal.
 */
export async function askYesNo(question: string, { input, output, signal }: Terminal): Promise<boolean> {
  output.write(`${question} [y/N] `);
  const reader = createInterface({ input, signal });
  const answer = await new Promise<string | null>((resolve) => {
    reader.once('line', resolve).once('close', () => resolve(null));
  });
  reader.close();
  // Nobody has ended the line.
  if (answer === null) output.write('\n');
  return /^\s*y(es)?\s*$/i.test(answer ?? '');
}
