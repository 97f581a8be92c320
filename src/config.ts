import { z } from 'zod';

/** A whole number between two bounds, from text. */
const whole = (min: number, max: number, preset: number) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`))
    .default(preset);

const text = z.string().min(1);

const oneOf = <const Values extends [string, ...string[]]>(...values: Values) =>
  z.enum(values, `must be one of ${values.join(', ')}`);

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
  DATABASE_POOL_MAX: whole(2, 1000, 10),
  PAGE_USERS: whole(1, 5000, 500),
  LEASE_SECONDS: whole(2, 300, 10),
  DISPATCH_CONCURRENCY: whole(1, 64, 4),
  PUBLISH_CONCURRENCY: whole(1, 256, 16),
  RECIPIENTS_PER_MESSAGE: whole(1, 1000, 1),
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
  if (result.success && more.length === 0) return result.data;
  const wrong = result.error?.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`) ?? [];
  throw new ConfigError([...wrong, ...more]);
}
