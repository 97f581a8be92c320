/** The yardstick of resolving: the same query over the same ranges, page after page, with node-postgres alone. */

import { Client } from 'pg';
import { answerCalls } from './child.ts';
import { createMeter } from './meter.ts';

/** What resolves a page: the addresses of the channels a user is told on, or the reason why there are none. */
const RESOLVE = `
  select u.user_id,
    case when p.email_enabled then u.email end as email,
    case when p.sms_enabled then u.phone end as sms,
    case
      when p.user_id is null then 'no_preferences'
      when not (p.email_enabled or p.sms_enabled) then 'opted_out'
      when not ((p.email_enabled and u.email is not null) or (p.sms_enabled and u.phone is not null)) then 'no_contact'
    end as reason
  from (select * from users where user_id between $1 and $2) u
  full join (select * from preferences where user_id between $1 and $2) p on p.user_id = u.user_id
  where coalesce(u.user_id, 0) <> 0
  order by 1`;

const meter = createMeter();

const handlers = {
  /** Resolves all pages of a notification. Returns the users it has seen, and what that took. */
  async pass(url: string, notificationId: string) {
    const client = new Client({ connectionString: url });
    await client.connect();
    const { rows: pages } = await client.query<{ first: number; last: number }>(
      'select first_user_id as first, last_user_id as last from pages where notification_id = $1 order by number',
      [notificationId],
    );
    meter.reset();
    const begin = performance.now();
    let users = 0;
    for (const { first, last } of pages) {
      const { rows } = await client.query({ name: 'resolve', text: RESOLVE, values: [first, last] });
      users += rows.length;
    }
    const seconds = (performance.now() - begin) / 1_000;
    await client.end();
    return { users, seconds, cpuSeconds: meter.read().cpuSeconds };
  },
};
export type PassHandlers = typeof handlers;

answerCalls(handlers);
