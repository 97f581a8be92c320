import { describe, expect, it } from 'vitest';
import { CORPUS } from './corpus.ts';

/** Per kind of field. */
const VALUES_MIN = 300;

describe('the corpus', () => {
  it.each(Object.entries(CORPUS))('has enough values for a field of the kind %s, every one once', (_, values) => {
    expect(values.length).toBeGreaterThanOrEqual(VALUES_MIN);
    expect(new Set(values).size).toBe(values.length);
  });

  it.each(Object.entries(CORPUS))('is made of bytes for the kind %s', (_, values) => {
    expect(values.filter((value) => /[^\0-\xff]/.test(value))).toEqual([]);
  });
});
