import type { Channel } from '../channels.ts';
import type { Database } from '../database.ts';
import { ServiceError } from '../errors.ts';
import { Prisma } from '../generated/client.ts';

/** What a principal may send, all processes together. */
export type Allowances = {
  /** Broadcasts to everyone within a clock hour in UTC. */
  broadcastsPerHour: number;
  /** Recipients on each channel within a day in UTC; null: any number. */
  recipientsPerDay: number | null;
};

/** What a notification uses of an allowance. */
export type Charge = { kind: 'broadcasts' | `recipients:${Channel}`; used: number; allowed: number };

/** The windows of allowances; `date_trunc` knows them by name. */
const WINDOWS = { broadcasts: { name: 'hour', seconds: 3_600 }, recipients: { name: 'day', seconds: 86_400 } };

/** What an hour's broadcasts or a day's recipients can add up to in the table: a PostgreSQL integer. */
const USED_MAX = 2_147_483_647;

/** The charges for recipients per channel. Nobody on a channel costs nothing there. */
export function chargeRecipients(byChannel: Record<Channel, number>, allowed: number): Charge[] {
  const used = Object.entries(byChannel) as [Channel, number][];
  return used.flatMap(([name, users]) => (users === 0 ? [] : [{ kind: `recipients:${name}`, used: users, allowed }]));
}

/**
 * The CTE that charges in the statement that makes the row of `written`; without that row it charges nothing. A charge
 * beyond what is allowed violates `usage_within_allowance`, which undoes the whole statement.
 * Lock: the principal's row of each kind, always in the order of kinds, so that two statements never wait for each other.
 * A window only moves on: a statement that began before its end, and waited for one that began behind it, counts there.
 */
export function charged(principal: string, charges: Charge[]): Prisma.Sql {
  return Prisma.sql`charged as (
    insert into usage as u (principal, kind, window_start, used, allowed)
    select ${principal}, c.kind, date_trunc(c.of, now(), 'UTC'), c.used, c.allowed
    from written, ${listCharges(charges)}
    order by c.kind
    on conflict (principal, kind) do update set
      used = least(${USED_MAX}::bigint,
        excluded.used + case when u.window_start < excluded.window_start then 0 else u.used::bigint end),
      window_start = greatest(u.window_start, excluded.window_start),
      allowed = excluded.allowed
  )`;
}

/** Whether a statement was undone because it charged more than is allowed (SQLSTATE 23514, check_violation, of our check). */
export function isAllowanceExceeded(error: unknown): boolean {
  if (!(error instanceof Prisma.PrismaClientKnownRequestError)) return false;
  const { driverAdapterError } = (error.meta ?? {}) as {
    driverAdapterError?: { cause?: { originalCode?: string; originalMessage?: string } };
  };
  const { originalCode, originalMessage = '' } = driverAdapterError?.cause ?? {};
  return originalCode === '23514' && originalMessage.includes('usage_within_allowance');
}

/** The refusal of charges that are too much already, so that nothing need be counted for them; null: they may pass. */
export async function findExceeded(db: Database, principal: string, charges: Charge[]): Promise<ServiceError | null> {
  const scarcest = await findScarcest(db, principal, charges);
  return scarcest?.is_exceeded === true ? composeRefusal(scarcest) : null;
}

/** The refusal of charges that were too much: names the first allowance that is exceeded, and when it starts anew. */
export async function explainExceeded(db: Database, principal: string, charges: Charge[]): Promise<ServiceError> {
  const scarcest = await findScarcest(db, principal, charges);
  if (scarcest === undefined) throw new Error('Nothing was charged.');
  return composeRefusal(scarcest);
}

/** A charge, and of its allowance what is left and in how many seconds it starts anew. */
type Scarcest = Charge & { left: number; seconds: number; is_exceeded: boolean };

/** The first charge that is too much; when none is any more, as a window has ended meanwhile, the first. */
async function findScarcest(db: Database, principal: string, charges: Charge[]): Promise<Scarcest | undefined> {
  const [scarcest] = await db.$queryRaw<Scarcest[]>`
    select c.kind, c.used, c.allowed, greatest(0, c.allowed - coalesce(u.used, 0)) as left,
      greatest(1, ceil(extract(epoch from w.start - now()) + c.seconds))::int as seconds,
      coalesce(u.used, 0)::bigint + c.used > c.allowed as is_exceeded
    from ${listCharges(charges)}
      cross join lateral (select date_trunc(c.of, now(), 'UTC') as start) w
      left join usage u on u.principal = ${principal} and u.kind = c.kind and u.window_start >= w.start
    order by is_exceeded desc, c.kind
    limit 1`;
  return scarcest;
}

function composeRefusal({ kind, used, allowed, left, seconds }: Scarcest): ServiceError {
  const details = { retryAfterSeconds: seconds };
  if (kind === 'broadcasts') {
    const detail = `This caller may send ${allowed} broadcasts within an hour. Nothing was sent.`;
    return new ServiceError('broadcast_limit_reached', detail, details);
  }
  const channel = kind.slice('recipients:'.length);
  const detail = `This caller may tell ${left} more users by ${channel} today, and asked for ${used}. Nothing was sent.`;
  return new ServiceError('daily_recipients_reached', detail, details);
}

/** The charges as a table `c`, with their windows. */
function listCharges(charges: Charge[]): Prisma.Sql {
  const windows = charges.map(({ kind }) => (kind === 'broadcasts' ? WINDOWS.broadcasts : WINDOWS.recipients));
  return Prisma.sql`unnest(${charges.map(({ kind }) => kind)}::text[], ${windows.map(({ name }) => name)}::text[],
      ${windows.map(({ seconds }) => seconds)}::int[], ${charges.map(({ used }) => used)}::int[],
      ${charges.map(({ allowed }) => allowed)}::int[]) as c(kind, of, seconds, used, allowed)`;
}
