import { describe, expect, it } from 'vitest';
import { estimateSeconds, findDefaultRate } from '../src/notifications/default-rate.ts';

describe('the default rate of a topic', () => {
  it.each([
    ['us-east-1', 30_000],
    ['eu-west-1', 9_000],
    ['eu-central-1', 1_500],
    ['eu-north-1', 300],
  ])('in %s is %i messages a second', (region, perSecond) => {
    expect(findDefaultRate(`arn:aws:sns:${region}:000000000000:notifications`)).toBe(perSecond);
  });
});

describe('the estimate of a broadcast', () => {
  it.each([
    { messages: 1_000_000, perSecond: 9_000, seconds: 111.2 },
    { messages: 1, perSecond: 30_000, seconds: 0.1 },
    { messages: 0, perSecond: 300, seconds: 0 },
  ])('of $messages messages at $perSecond a second is $seconds s', ({ messages, perSecond, seconds }) => {
    expect(estimateSeconds(messages, perSecond)).toBe(seconds);
  });
});
