import { isIP } from 'node:net';
import { z } from 'zod';

/** A whole number between two bounds, from text. */
const between = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`));

const whole = (min: number, max: number, preset: number) => between(min, max).default(preset);

const text = z.string().min(1);

/** Plain HTTP only where nobody is in between. */
export function isSecureUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname } = new URL(value);
  return protocol === 'https:' || (protocol === 'http:' && /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname));
}

function isNetwork(value: string): boolean {
  const [address = '', prefix, ...more] = value.split('/');
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return (
    more.length === 0 &&
    bits > 0 &&
    (prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) >= 1 && Number(prefix) <= bits))
  );
}

function isOrigin(value: string): boolean {
  return URL.canParse(value) && /^https?:/.test(value) && new URL(value).origin === value;
}

const oneOf = <const Values extends [string, ...string[]]>(...values: Values) =>
  z.enum(values, `must be one of ${values.join(', ')}`);

/** Comma-separated values, none by default. */
const list = (isValid: (value: string) => boolean, message: string) =>
  z
    .string()
    .default('')
    .transform((value) =>
      value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .refine((values) => values.every(isValid), message);

/** The environment of the service: every variable with its bounds and its default. */
export const configSchema = z.object({
  DATABASE_URL: z
    .string('is required')
    .refine(
      (url) => /^postgres(ql)?:\/\/./.test(url) && URL.canParse(url),
      'must look like postgresql://user:password@host:5432/database',
    ),
  SNS_TOPIC_ARN: z
    .string('is required; `npm run provision` prints it')
    .regex(/^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]{1,256}$/, 'must be the ARN of a standard SNS topic'),
  HOST: text.default('127.0.0.1'),
  PORT: whole(0, 65_535, 8000),
  LOG_LEVEL: oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent').default('info'),
  ROLE: oneOf('all', 'api', 'dispatcher').default('all'),
  AUTH: oneOf('on', 'off').default('on'),
  JWT_ISSUER: text.optional(),
  JWT_AUDIENCE: text.optional(),
  JWKS_URL: z.string().refine(isSecureUrl, 'must be an https URL (http only on this machine)').optional(),
  RATE_LIMIT_PER_ADDRESS: whole(0, 10_000_000, 30_000),
  RATE_LIMIT_PER_PRINCIPAL: whole(0, 10_000_000, 30_000),
  BROADCAST_MAX_PER_HOUR: whole(0, 1_000_000, 20),
  DAILY_RECIPIENTS: between(0, 2_147_483_647).optional(),
  TRUST_PROXY: list(isNetwork, 'must be IP addresses or networks like 10.0.0.0/8, separated by commas'),
  CORS_ORIGINS: list(isOrigin, 'must be origins like https://app.example.com, separated by commas'),
  DATABASE_POOL_MAX: whole(2, 1000, 10),
  PAGE_USERS: whole(1, 5000, 500),
  LEASE_SECONDS: whole(2, 300, 10),
  DISPATCH_CONCURRENCY: whole(1, 64, 4),
  PUBLISH_CONCURRENCY: whole(1, 256, 16),
  RECIPIENTS_PER_MESSAGE: whole(1, 1000, 1),
  PUBLISH_RATE_LIMIT: between(1, 1_000_000).optional(),
  RETENTION_DAYS: whole(1, 36_500, 90),
});

/** The environment of the local mode; beside these it takes the service's optional variables, but for HOST and ROLE. */
export const localConfigSchema = z.object({
  LOCAL_DIR: text.default('.local'),
  LOCAL_POSTGRES_PORT: whole(0, 65_535, 54_320),
  LOCAL_AWS_PORT: whole(0, 65_535, 4566),
  LOCAL_DEMO_USERS: whole(0, 1_000_000, 100),
  LOCAL_SENDERS: oneOf('on', 'off').default('on'),
});

export type Config = z.infer<typeof configSchema>;

/** The environment is wrong; `message` names every variable at fault, one per line. */
export class ConfigError extends Error {
  constructor(problems: string[]) {
    super(['The configuration is not valid:', ...problems.map((problem) => `  ${problem}`)].join('\n'));
    this.name = 'ConfigError';
  }
}

/**
 * Reads a configuration from environment variables. An empty variable counts as missing.
 *
 * @param more - problems found elsewhere, to be named in the same message.
 * @throws ConfigError naming every wrong or missing variable at once.
 */
export function parseConfig<Schema extends z.ZodObject>(
  schema: Schema,
  env: Record<string, string | undefined>,
  more: string[] = [],
): z.output<Schema> {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const result = schema.safeParse(given);
  const wrong = result.error?.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`) ?? [];
  const problems = [...wrong, ...findHalves(schema, given), ...more];
  if (result.success && problems.length === 0) return result.data;
  throw new ConfigError(problems);
}

/** Variables that make sense together only, those of them that are missing. */
function findHalves(schema: z.ZodObject, given: Record<string, string | undefined>): string[] {
  const together = ['JWT_ISSUER', 'JWT_AUDIENCE', 'JWKS_URL'].filter((name) => name in schema.shape);
  const missing = together.filter((name) => given[name] === undefined);
  return missing.length === together.length
    ? []
    : missing.map((name) => `${name} is required where the others for JWTs are set`);
}
