import { inject } from 'vitest';

declare module 'vitest' {
  interface ProvidedContext {
    /** What everything random follows from, and whether the rows run in their short form. */
    faults: { seed: number; isShort: boolean };
  }
}

/** How the rows run, as the project of vitest.config.ts says. */
export const FAULTS = inject('faults');
