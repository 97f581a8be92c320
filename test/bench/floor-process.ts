/** The yardstick of the API: bare Fastify and node-postgres that run the same SQL, and check and record nothing else. */

import type { AddressInfo } from 'node:net';
import fastify from 'fastify';
import { Pool } from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { answerCalls } from './child.ts';

type Change = { email_enabled?: boolean; sms_enabled?: boolean };

const READ = 'select user_id, email_enabled, sms_enabled from preferences where user_id = $1';
const CHANGE = `
  with written as (
    update preferences set
      email_enabled = coalesce($2::boolean, email_enabled),
      sms_enabled = coalesce($3::boolean, sms_enabled)
    where user_id = $1
    returning user_id, email_enabled, sms_enabled
  ), audited as (
    insert into audit_log (id, principal, action, object, outcome, request_id)
    select $4::uuid, 'anonymous', 'preference.patch', $5, 'changed', $6 from written
  )
  select * from written`;

const handlers = {
  /** Serves GET and PATCH of /preferences/:user_id on a pool of at most so many connections. Returns its URL. */
  async serve(databaseUrl: string, poolMax: number): Promise<string> {
    const pool = new Pool({ connectionString: databaseUrl, max: poolMax });
    const app = fastify();
    app.get<{ Params: { user_id: string } }>('/preferences/:user_id', async ({ params }) => {
      const { rows } = await pool.query({ name: 'read', text: READ, values: [Number(params.user_id)] });
      return rows[0];
    });
    app.patch<{ Params: { user_id: string }; Body: Change }>('/preferences/:user_id', async ({ params, body, id }) => {
      const changes = [body.email_enabled ?? null, body.sms_enabled ?? null];
      const values = [Number(params.user_id), ...changes, uuidv7(), `preferences/${params.user_id}`, id];
      const { rows } = await pool.query({ name: 'change', text: CHANGE, values });
      return rows[0];
    });
    await app.listen({ host: '127.0.0.1', port: 0 });
    return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  },
};
export type FloorHandlers = typeof handlers;

answerCalls(handlers);
