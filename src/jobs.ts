import type { Database } from './database.ts';
import { Prisma } from './generated/client.ts';

/** A run of a job: what only one process at a time does, whichever comes first when it is due. */
export type JobRun = {
  name: string;
  /** A uuid of this run, not of the process. */
  holder: string;
};

/** A run that says nothing for that long is taken over: many times what one step of a job may take. */
const LEASE_SECONDS = 60;

const LEASE_END = Prisma.sql`now() + make_interval(secs => ${LEASE_SECONDS})`;

/**
 * Takes a job that is due and that nobody has; one that was never run is due. All times are the database's.
 * Lock: the job's row, for the statement. A rival waits for it and then reads the row as it has become, so that one gets it.
 */
export async function claimJob(db: Database, { name, holder }: JobRun): Promise<boolean> {
  const claimed = await db.$executeRaw`
    insert into jobs as j (name, due_at, holder, lease_until) values (${name}, now(), ${holder}::uuid, ${LEASE_END})
    on conflict (name) do update set holder = excluded.holder, lease_until = excluded.lease_until
    where j.due_at <= now() and coalesce(j.lease_until <= now(), true)`;
  return claimed === 1;
}

/** Prolongs the lease. False: another run has taken the job over. */
export async function renewJob(db: Database, run: JobRun): Promise<boolean> {
  return (await db.$executeRaw`update jobs set lease_until = ${LEASE_END} where ${held(run)}`) === 1;
}

/** Ends a run whose work is done: the job is due again in `intervalSeconds`. */
export async function finishJob(db: Database, run: JobRun, intervalSeconds: number): Promise<void> {
  await db.$executeRaw`
    update jobs set holder = null, lease_until = null, due_at = now() + make_interval(secs => ${intervalSeconds})
    where ${held(run)}`;
}

/** Gives a job back unfinished, so that any process may go on at once. */
export async function releaseJob(db: Database, run: JobRun): Promise<void> {
  await db.$executeRaw`update jobs set holder = null, lease_until = null where ${held(run)}`;
}

const held = ({ name, holder }: JobRun) => Prisma.sql`name = ${name} and holder = ${holder}::uuid`;
