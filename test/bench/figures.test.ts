import { describe, expect, it } from 'vitest';
import { isCount, judge, median, percentile } from './figures.ts';

const FOUND = { bench: 'dispatch', figure: 'rate', unit: 'ms' };

describe('a figure', () => {
  it('says what it is compared with, what it has to be, and whether it is', () => {
    expect(judge({ ...FOUND, value: 30, yardstick: 10, goal: { ratioMin: 2 } })).toEqual({
      ...{ ...FOUND, value: 30, yardstick: 10 },
      ...{ ratio: 3, goal: '≥ 2 ×', pass: true },
    });
  });

  it.each([
    [{ ratioMin: 2 }, 20, 19],
    [{ ratioMax: 2 }, 20, 21],
    [{ min: 95 }, 95, 94.99],
    [{ max: 3 }, 3, 3.01],
    [{ exactly: 0 }, 0, 1],
    [{ maxBeyondYardstick: 50 }, 60, 61],
  ])('passes or misses the goal %j', (goal, met, missed) => {
    expect(judge({ ...FOUND, value: met, yardstick: 10, goal }).pass).toBe(true);
    expect(judge({ ...FOUND, value: missed, yardstick: 10, goal }).pass).toBe(false);
  });

  it('that could not be measured misses its goal', () => {
    expect(judge({ ...FOUND, value: Number.NaN, yardstick: 10, goal: { ratioMax: 2 } }).pass).toBe(false);
  });

  it('without a goal neither passes nor misses', () => {
    expect(judge({ ...FOUND, value: 30 })).toMatchObject({ yardstick: null, ratio: null, goal: null, pass: null });
  });

  it('is a count only where it has to be exact', () => {
    expect(isCount(judge({ ...FOUND, value: 0, goal: { exactly: 0 } }))).toBe(true);
    expect(isCount(judge({ ...FOUND, value: 0, goal: { max: 0 } }))).toBe(false);
  });
});

describe('the median', () => {
  it('is the one in the middle', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(percentile([5, 1, 4, 2, 3], 0.99)).toBe(5);
  });
});
