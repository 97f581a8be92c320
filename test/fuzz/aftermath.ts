import { expect } from 'vitest';
import { eventually } from '../support/dispatch.ts';
import { call, type TestService } from '../support/service.ts';

/** Connections that the service keeps for itself: to its database and to SNS. */
const OWN_SOCKETS_MAX = 40;
/** The level from which on a line of the log is an error. */
const ERROR_LEVEL = 50;

/** What is left of bad treatment; nothing: the service is ready, has no errors in its log, and its rows are sound. */
export async function findHarm(service: TestService, socketsBefore: number): Promise<unknown[]> {
  const errors = service.logs.filter(({ level, msg }) => Number(level) >= ERROR_LEVEL || msg === 'unexpected error');
  await eventually(async () => expect((await call(service, 'GET', '/health/ready')).status).toBe(200));
  await eventually(() => expect(countSockets()).toBeLessThanOrEqual(socketsBefore + OWN_SOCKETS_MAX));
  return [...errors, ...(await findUnsoundRows(service))];
}

/** Sockets that are open in this process. */
export function countSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP')).length;
}

/** Rows that no request may lead to. */
function findUnsoundRows({ db }: TestService): Promise<unknown[]> {
  return db.$queryRaw<unknown[]>`
    select 'users' as of, user_id::text as id from users where user_id < 1
    union all select 'preferences', user_id::text from preferences where user_id < 1
    union all select 'users', user_id::text from users where email not like '%@%' or phone not like '+%'
    union all select 'principal', id::text from notifications where created_by not like 'key:%'
    union all select 'audience', id::text from notifications, unnest(user_ids) as named(user_id) where named.user_id < 1
    union all select 'channels', id::text from notifications where not channels <@ array['email', 'sms'] or channels = '{}'
    union all select 'accounting', id::text from notifications n
      where n.published + n.failed + (select coalesce(sum(value::int), 0) from jsonb_each_text(n.suppressed)) > n.targeted
        or (n.status = 'completed' and n.open_pages = 0
          and n.published + n.failed + (select coalesce(sum(value::int), 0) from jsonb_each_text(n.suppressed)) <> n.targeted)
    union all select 'settled', notification_id::text from pages
      where cardinality(user_ids) <> cardinality(message_ids) or cardinality(user_ids) > users`;
}
