import { describe, expect, it } from 'vitest';
import { ConfigError, configSchema, localConfigSchema, parseConfig } from '../../src/config.ts';

const REQUIRED = {
  DATABASE_URL: 'postgresql://user:password@db.example.com:5432/notifications',
  SNS_TOPIC_ARN: 'arn:aws:sns:eu-west-1:123456789012:notifications',
};

/** Smallest and largest value of every number. */
const BOUNDS = [
  ['PORT', 0, 65_535],
  ['DATABASE_POOL_MAX', 2, 1000],
  ['PAGE_USERS', 1, 5000],
  ['LEASE_SECONDS', 2, 300],
  ['DISPATCH_CONCURRENCY', 1, 64],
  ['PUBLISH_CONCURRENCY', 1, 256],
  ['RECIPIENTS_PER_MESSAGE', 1, 1000],
  ['RATE_LIMIT_PER_ADDRESS', 0, 10_000_000],
  ['RATE_LIMIT_PER_PRINCIPAL', 0, 10_000_000],
  ['BROADCAST_MAX_PER_HOUR', 0, 1_000_000],
  ['RETENTION_DAYS', 1, 36_500],
] as const;
/** Those without a default. */
const OPTIONAL_BOUNDS = [
  ['DAILY_RECIPIENTS', 0, 2_147_483_647],
  ['PUBLISH_RATE_LIMIT', 1, 1_000_000],
] as const;
const LOCAL_BOUNDS = [
  ['LOCAL_POSTGRES_PORT', 0, 65_535],
  ['LOCAL_AWS_PORT', 0, 65_535],
  ['LOCAL_DEMO_USERS', 0, 1_000_000],
] as const;

const parseService = (variables: Record<string, string | undefined>) =>
  parseConfig(configSchema, { ...REQUIRED, ...variables });
const parseLocal = (variables: Record<string, string | undefined>) => parseConfig(localConfigSchema, variables);

/** The problems that an environment is refused with, one per line below the first; none when it is accepted. */
function listProblems(parse: () => unknown): string[] {
  try {
    parse();
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.replace('The configuration is not valid:\n  ', '').split('\n  ');
  }
}

describe('parseConfig', () => {
  it('takes the defaults for what is absent', () => {
    expect(parseService({})).toEqual({
      ...REQUIRED,
      ...{ HOST: '127.0.0.1', PORT: 8000, LOG_LEVEL: 'info', ROLE: 'all', DATABASE_POOL_MAX: 10 },
      ...{ PAGE_USERS: 500, LEASE_SECONDS: 10, DISPATCH_CONCURRENCY: 4, PUBLISH_CONCURRENCY: 16 },
      ...{ RECIPIENTS_PER_MESSAGE: 1, AUTH: 'on', TRUST_PROXY: [], CORS_ORIGINS: [], RETENTION_DAYS: 90 },
      ...{ RATE_LIMIT_PER_ADDRESS: 30_000, RATE_LIMIT_PER_PRINCIPAL: 30_000, BROADCAST_MAX_PER_HOUR: 20 },
    });
    expect(parseLocal({})).toEqual({
      ...{ LOCAL_DIR: '.local', LOCAL_POSTGRES_PORT: 54_320, LOCAL_AWS_PORT: 4566 },
      ...{ LOCAL_DEMO_USERS: 100, LOCAL_SENDERS: 'on' },
    });
  });

  it('takes what is given, numbers as numbers, and leaves foreign variables out', () => {
    const config = parseService({ PORT: '0', HOST: '::1', ROLE: 'api', LOG_LEVEL: 'silent', PATH: '/bin' });

    expect(config).toMatchObject({ PORT: 0, HOST: '::1', ROLE: 'api', LOG_LEVEL: 'silent' });
    expect(config).not.toHaveProperty('PATH');
  });

  it('takes an empty variable for a missing one', () => {
    expect(parseService({ PORT: '', ROLE: '', HOST: '' })).toEqual(parseService({}));
    expect(listProblems(() => parseService({ DATABASE_URL: '' }))).toEqual(['DATABASE_URL is required']);
  });

  it('names everything that is wrong or missing, in one message', () => {
    const problems = listProblems(() =>
      parseConfig(configSchema, { PORT: '80800', ROLE: 'both', LEASE_SECONDS: '1', PAGE_USERS: 'many' }),
    );

    expect(problems).toEqual([
      'DATABASE_URL is required',
      expect.stringMatching(/^SNS_TOPIC_ARN is required/),
      'PORT must be at most 65535',
      'ROLE must be one of all, api, dispatcher',
      'PAGE_USERS must be a whole number',
      'LEASE_SECONDS must be at least 2',
    ]);
  });

  it.each([...BOUNDS, ...OPTIONAL_BOUNDS])('keeps %s between %i and %i', (name, min, max) => {
    expect(parseService({ [name]: String(min) })[name]).toBe(min);
    expect(parseService({ [name]: String(max) })[name]).toBe(max);
    expect(listProblems(() => parseService({ [name]: String(max + 1) }))).toEqual([`${name} must be at most ${max}`]);
    expect(listProblems(() => parseService({ [name]: String(min - 1) }))).toEqual([
      min === 0 ? `${name} must be a whole number` : `${name} must be at least ${min}`,
    ]);
  });

  it.each(LOCAL_BOUNDS)('keeps %s between %i and %i', (name, min, max) => {
    expect(parseLocal({ [name]: String(min) })[name]).toBe(min);
    expect(parseLocal({ [name]: String(max) })[name]).toBe(max);
    expect(listProblems(() => parseLocal({ [name]: String(max + 1) }))).toEqual([`${name} must be at most ${max}`]);
  });

  it('keeps every number within bounds that are tested here', () => {
    const numbers = Object.entries({ ...parseService({}), ...parseLocal({}) }).filter(
      ([, value]) => typeof value === 'number',
    );

    expect(numbers.map(([name]) => name).toSorted()).toEqual(
      [...BOUNDS, ...LOCAL_BOUNDS].map(([name]) => name).toSorted(),
    );
  });

  it.each(['-1', '1.5', '1e3', '0x10', ' 5', '5 ', 'NaN', '١'])('refuses %j for a number', (text) => {
    expect(listProblems(() => parseService({ DISPATCH_CONCURRENCY: text }))).toEqual([
      'DISPATCH_CONCURRENCY must be a whole number',
    ]);
  });

  it.each([
    ['DATABASE_URL', 'mysql://user@host/db'],
    ['DATABASE_URL', 'postgresql://a b:x@@@:99999999/x'],
    ['DATABASE_URL', 'postgresql:/user:secret@host/db'],
    ['SNS_TOPIC_ARN', 'arn:aws:sqs:eu-west-1:123456789012:notifications'],
    ['SNS_TOPIC_ARN', 'arn:aws:sns:eu-west-1:123456789012:notifications.fifo'],
    ['SNS_TOPIC_ARN', 'notifications'],
    ['ROLE', 'ALL'],
    ['LOG_LEVEL', 'verbose'],
    ['AUTH', 'no'],
    ['JWKS_URL', 'http://issuer.example.com/keys'],
    ['JWKS_URL', 'issuer'],
    ['DAILY_RECIPIENTS', '-1'],
    ['TRUST_PROXY', 'loopback'],
    ['TRUST_PROXY', '10.0.0.0/33'],
    ['TRUST_PROXY', '0.0.0.0/0'],
    ['TRUST_PROXY', '10.0.0.1/8/8'],
    ['TRUST_PROXY', '10.1.0.0/'],
    ['CORS_ORIGINS', '*'],
    ['CORS_ORIGINS', 'https://app.example.com/'],
    ['CORS_ORIGINS', 'pages.example.com'],
  ])('refuses %s=%s without repeating it, as it may hold a password', (name, value) => {
    const others = name === 'JWKS_URL' ? { JWT_ISSUER: 'issuer', JWT_AUDIENCE: 'audience' } : {};
    const problems = listProblems(() => parseService({ ...others, [name]: value }));

    expect(problems).toEqual([expect.stringMatching(new RegExp(`^${name} `))]);
    expect(problems.join()).not.toContain(value);
  });

  it('wants all variables for JWTs, or none', () => {
    expect(listProblems(() => parseService({ JWT_AUDIENCE: 'notifications' }))).toEqual([
      'JWT_ISSUER is required where the others for JWTs are set',
      'JWKS_URL is required where the others for JWTs are set',
    ]);
    const all = { JWT_ISSUER: 'a', JWT_AUDIENCE: 'b', JWKS_URL: 'https://issuer.example.com/keys' };
    expect(parseService(all)).toMatchObject(all);
    expect(parseService({ ...all, JWKS_URL: 'http://127.0.0.1:9/keys' })).toMatchObject({ JWT_ISSUER: 'a' });
  });

  it('takes lists apart at their commas', () => {
    expect(
      parseService({ TRUST_PROXY: ' 10.0.0.0/8, ::1,fd00::/8 ', CORS_ORIGINS: 'https://a.example,http://b:81' }),
    ).toMatchObject({
      TRUST_PROXY: ['10.0.0.0/8', '::1', 'fd00::/8'],
      CORS_ORIGINS: ['https://a.example', 'http://b:81'],
    });
  });

  it.each(['arn:aws-cn:sns:cn-north-1:123456789012:a', 'arn:aws-us-gov:sns:us-gov-west-1:123456789012:A_b-9'])(
    'accepts the topic %s',
    (SNS_TOPIC_ARN) => {
      expect(parseService({ SNS_TOPIC_ARN })).toMatchObject({ SNS_TOPIC_ARN });
    },
  );
});
