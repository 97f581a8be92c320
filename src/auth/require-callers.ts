import { type Config, ConfigError } from '../config.ts';
import { type Database, isDatabaseUnavailable } from '../database.ts';
import { Prisma } from '../generated/client.ts';

/**
 * Refuses to start an API that nobody could call: no key was ever made, and no issuer is configured. It refuses nothing
 * while the database is away, as it cannot know.
 *
 * @throws ConfigError that says what to do
 */
export async function requireCallers(config: Config, db: Database): Promise<void> {
  if (config.AUTH === 'off' || config.ROLE === 'dispatcher' || config.JWKS_URL !== undefined) return;
  if (await hasKeys(db)) return;
  const remedies =
    'create a key with `npm run api-key -- create`, set JWT_ISSUER, JWT_AUDIENCE and JWKS_URL, or say AUTH=off';
  throw new ConfigError([`AUTH is on, and nobody could call: ${remedies}`]);
}

async function hasKeys(db: Database): Promise<boolean> {
  try {
    return (await db.apiKey.findFirst({ select: { id: true } })) !== null;
  } catch (error) {
    if (isDatabaseUnavailable(error)) return true;
    if (!isTableMissing(error)) throw error;
    throw new ConfigError(['DATABASE_URL names a database without our tables; run `npm run migrate` first']);
  }
}

/** Prisma's P2021. */
function isTableMissing(error: unknown): boolean {
  return error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2021';
}
