import { inject } from 'vitest';

declare module 'vitest' {
  interface ProvidedContext {
    /** What the random follows from, and how many of each kind to try. */
    fuzz: { seed: number; isShort: boolean; malformed: number; valid: number; raw: number; sequences: number };
  }
}

/** How long and from where to fuzz, as the project of vitest.config.ts says. */
export const FUZZ = inject('fuzz');

/** A full run takes minutes, and a short one on a busy machine longer than other tests. */
export const FUZZ_TIMEOUT_MS = 900_000;

/** What to say when something is found: how to have it again. */
export const RERUN = `again: FUZZ_SEED=${FUZZ.seed}${FUZZ.isShort ? ' FUZZ=short' : ''} npm run test:fuzz`;

/** Random numbers from 0 up to 1, the same ones for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of a list that is not empty. */
export function pick<Item>(random: () => number, items: readonly Item[]): Item {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('There is nothing to pick from.');
  return item;
}
