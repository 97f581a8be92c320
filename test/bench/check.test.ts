import { describe, expect, it } from 'vitest';
import { compare } from './check.ts';

const EXPECTED = [1, 2, 4];

/** A journal by which each user was told so many times, from user 1 on. */
const journal = (times: number[], strangers = 0) => ({ times: Uint8Array.from([0, ...times]), strangers });

describe('the checker of a broadcast', () => {
  it('finds nothing when everyone who should be was told once', () => {
    expect(compare(EXPECTED, journal([1, 1, 0, 1]))).toEqual({ lost: 0, unexpected: 0, duplicated: 0 });
  });

  it('finds a message lost', () => {
    expect(compare(EXPECTED, journal([1, 0, 0, 1]))).toEqual({ lost: 1, unexpected: 0, duplicated: 0 });
  });

  it('finds messages doubled', () => {
    expect(compare(EXPECTED, journal([1, 3, 0, 1]))).toEqual({ lost: 0, unexpected: 0, duplicated: 2 });
  });

  it('finds a user told who should not have been, and one whom nobody knows', () => {
    expect(compare(EXPECTED, journal([1, 1, 1, 1], 1))).toEqual({ lost: 0, unexpected: 2, duplicated: 0 });
  });
});
