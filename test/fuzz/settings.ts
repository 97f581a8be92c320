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
