import { describe, expect, it } from 'vitest';
import { BenchUsageError, parseBenchCommand } from './command.ts';

const KNOWN = ['accept', 'dispatch', 'resolve'];

const parse = (...args: string[]) => parseBenchCommand(args, KNOWN);

describe('npm run bench', () => {
  it('runs everything with a million users', () => {
    expect(parse()).toEqual({ names: KNOWN, users: 1_000_000, isShort: false, isJson: false });
  });

  it('runs what is named, in its own order', () => {
    expect(parse('resolve', 'accept', '--users', '5000', '--json')).toEqual({
      ...{ names: ['accept', 'resolve'], users: 5_000, isShort: false, isJson: true },
    });
  });

  it('has a short form of its own size', () => {
    expect(parse('--short')).toMatchObject({ users: 20_000, isShort: true });
  });

  it('shows how it is used', () => {
    expect(parse('--help')).toBeNull();
  });

  it.each([
    ['nothing'],
    ['--user', '5000'],
    ['--users', '999'],
    ['--users', '10000000'],
    ['--users', '2e4.5'],
    ['--json=yes'],
  ])('refuses %s %s', (...args) => {
    expect(() => parse(...args)).toThrow(BenchUsageError);
  });
});
