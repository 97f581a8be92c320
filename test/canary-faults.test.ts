import { Client } from 'pg';
import { describe, expect, inject, it } from 'vitest';
import { fillHeaders } from './support/canary-calls.ts';
import { aviary, findUrl, openDatabase, send, startServer, stopAndSearch } from './support/canary-watch.ts';
import { eventually } from './support/dispatch.ts';
import { call } from './support/service.ts';
import { type Sink, startSink } from './support/sink.ts';

/** Calls of each kind while something is wrong with the database. */
const FAULTY_CALLS = 3;
const PLAIN = { method: 'GET', headers: {} };
/** A start, a dozen dispatches and the longest stop there is, on a machine that may be busy. */
const FAULTS_TIMEOUT_MS = 90_000;

const { mint } = aviary;

describe('addresses, texts and secrets', () => {
  it(
    'are in no log or error when the database refuses, fails and goes away',
    async () => {
      const { url, admin } = await openDatabase();
      const server = await startServer({ DATABASE_URL: url, AWS_ENDPOINT_URL: await findUrl(await startSink()) });
      const statuses: number[] = [];
      const putUser = async (user_id = 1) => {
        const body = JSON.stringify({ email: mint('email'), phone: mint('phone') });
        statuses.push((await send(server, { ...PLAIN, method: 'PUT', path: `/users/${user_id}`, body })).status);
      };
      const notify = async () => {
        const body = JSON.stringify({ payload: mint('payload'), subject: mint('subject'), user_ids: [1] });
        const headers = { ...fillHeaders(aviary), prefer: 'wait=1' };
        statuses.push((await send(server, { ...PLAIN, method: 'POST', path: '/notifications', headers, body })).status);
      };
      const callBoth = async () => {
        for (let times = 0; times < FAULTY_CALLS; times++) await Promise.all([putUser(), putUser(2), notify()]);
      };
      await admin.query('insert into preferences values (1, true, true), (2, true, true)');
      for (const [spoil, repair] of DATABASE_FAULTS) {
        await admin.query(spoil);
        await callBoth();
        await admin.query(repair);
      }
      await Promise.all([callBoth(), hangUpSessions(admin)]);
      await cancelWaiting(admin, callBoth);
      await admin.query('alter table preferences rename to elsewhere');
      await notify();
      await eventually(() => expect(server.output.stdout).toContain('dispatch failed'));
      await admin.query('alter table elsewhere rename to preferences');
      await notify();
      await shutDatabase(url, admin, callBoth);
      await stopAndSearch('the service without its database', server);

      expect(statuses.filter((status) => status < 300).length).toBeGreaterThan(0);
      expect(statuses).toEqual(expect.arrayContaining([500, 503]));
      expect(server.output.stdout).toContain('unexpected error');
      expect(server.output.stdout).toContain('database unavailable');
    },
    FAULTS_TIMEOUT_MS,
  );

  it(
    'are in no log or error when SNS refuses, fails and goes away, leases are lost and processes end',
    async () => {
      const { url, admin } = await openDatabase();
      const sink = await startSink();
      const env = { DATABASE_URL: url, AWS_ENDPOINT_URL: await findUrl(sink) };
      const server = await startServer(env);
      for (const user_id of [1, 2, 3]) {
        const body = JSON.stringify({ email: mint('email'), phone: mint('phone') });
        await send(server, { ...PLAIN, method: 'PUT', path: `/users/${user_id}`, body });
      }
      await admin.query('insert into preferences select id, true, true from generate_series(1, 3) id');
      const notify = async (to: { url: string }, wait = 30) => {
        const body = JSON.stringify({ payload: mint('payload'), subject: mint('subject') });
        const headers = { ...fillHeaders(aviary), prefer: `wait=${wait}` };
        return send(to, { ...PLAIN, method: 'POST', path: '/notifications', headers, body });
      };
      const quoting: Parameters<Sink['answer']>[0][] = [
        () => ({ fail: quoteEntry(true) }),
        ({ number }) => (number % 3 === 0 ? {} : { fail: quoteEntry(false) }),
        (received) => ({ refuse: { status: 400, code: 'InvalidParameter', message: quoteCall(received) } }),
        ...[400, 403, 429, 500].map((status): Parameters<Sink['answer']>[0] => (received) => {
          return received.number % 3 === 0
            ? {}
            : { refuse: { status, code: 'Unexpected', message: quoteCall(received) } };
        }),
        // No XML.
        (received) =>
          received.number % 2 === 0
            ? {}
            : { refuse: { status: 500, code: 'Unexpected', message: `<&${quoteCall(received)}` } },
        ({ number }) => (number % 2 === 0 ? {} : { connection: 'drop' }),
        ({ number }) => (number % 2 === 0 ? {} : { connection: 'lose' }),
      ];
      for (const plan of quoting) {
        sink.answer(plan);
        expect((await notify(server)).body).toMatchObject({ status: 'completed' });
      }

      await admin.query("alter table pages add constraint kept_open check (state <> 'settled') not valid");
      sink.answer(() => ({ fail: quoteEntry(true) }));
      await notify(server, 1);
      await eventually(() => expect(server.output.stdout).toContain('page published but not settled'));
      await admin.query('alter table pages drop constraint kept_open');

      const release = sink.holdReplies();
      const before = sink.calls.length;
      const waiting = notify(server);
      await eventually(() => expect(sink.calls.length).toBeGreaterThan(before));
      await admin.query("update pages set attempt = attempt + 1, lease_until = now() where state = 'open'");
      await eventually(() => expect(server.output.stdout).toMatch(/lease lost|page not held any more/));
      release();
      expect((await waiting).body).toMatchObject({ status: 'completed' });

      sink.answer(() => ({ connection: 'hang' }));
      const held = sink.calls.length;
      await notify(server, 0);
      await eventually(() => expect(sink.calls.length).toBeGreaterThan(held));
      const away = await startServer({ ...env, AWS_ENDPOINT_URL: 'http://127.0.0.1:1' });
      expect((await call(away, 'GET', '/health/ready')).status).toBe(503);
      // The other process takes some of these, until each of its loops hangs.
      await eventually(async () => {
        await notify(away, 0);
        expect(away.output.stdout).toContain('it will be tried again');
      });
      await Promise.all([
        stopAndSearch('the service with SNS', server),
        stopAndSearch('the service without SNS', away),
      ]);
      sink.answer(() => ({}));
      const next = await startServer(env);
      await eventually(async () => {
        const { rows } = await admin.query("select from notifications where status <> 'completed'");
        expect(rows).toEqual([]);
      });
      await stopAndSearch('the next process', next);
      expect(aviary.find(JSON.stringify(sink.calls)).length).toBeGreaterThan(quoting.length);
    },
    FAULTS_TIMEOUT_MS,
  );
});

/** By which the database is made to refuse what it usually takes, quoting it, and how that is undone. */
const DATABASE_FAULTS: [spoil: string, repair: string][] = [
  [
    `alter table users add constraint plain_email check (email not like 'zq%') not valid;
     alter table notifications add constraint plain_payload check (payload not like 'zq%') not valid`,
    'alter table users drop constraint plain_email; alter table notifications drop constraint plain_payload',
  ],
  [
    `create function quote_row() returns trigger language plpgsql as
       $$ begin raise exception 'refused: %', new using detail = new::text, hint = new::text; end $$;
     create trigger quote_row before insert or update on users for each row execute function quote_row();
     create trigger quote_row before insert on notifications for each row execute function quote_row()`,
    'drop function quote_row cascade',
  ],
  [
    `alter table users alter email type int using null, alter phone type uuid using null;
     alter table notifications alter payload type int using 0, alter subject type date using null`,
    `alter table users alter email type text using null, alter phone type text using null;
     alter table notifications alter payload type text using '', alter subject type text using null`,
  ],
  [
    'alter table users alter email type varchar(9) using null; alter table notifications alter payload type varchar(9)',
    'alter table users alter email type text; alter table notifications alter payload type text',
  ],
  ['create unique index one_of_all on users ((phone is null))', 'drop index one_of_all'],
  [
    'alter table users rename to elsewhere; alter table notifications rename payload to elsewhere',
    'alter table elsewhere rename to users; alter table notifications rename elsewhere to payload',
  ],
];

const OTHERS = 'from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()';

async function hangUpSessions(admin: Client): Promise<void> {
  for (let times = 0; times < FAULTY_CALLS; times++) await admin.query(`select pg_terminate_backend(pid) ${OTHERS}`);
}

/** Statements that wait for a lock are canceled, as those are that take too long. */
async function cancelWaiting(admin: Client, work: () => Promise<void>): Promise<void> {
  await admin.query('begin; lock table users, notifications');
  const state = { working: true };
  const worked = work().finally(() => {
    state.working = false;
  });
  while (state.working) {
    // Within a transaction, who waits would be asked only once.
    await admin.query('select pg_stat_clear_snapshot()');
    await admin.query(`select pg_cancel_backend(pid) ${OTHERS} and wait_event_type = 'Lock'`);
  }
  await worked;
  await admin.query('rollback');
}

/** The database takes no connections for a while. */
async function shutDatabase(url: string, admin: Client, work: () => Promise<void>): Promise<void> {
  const name = new URL(url).pathname.slice(1);
  const owner = new Client({ connectionString: inject('postgresUrl') });
  await owner.connect();
  await owner.query(`alter database ${name} allow_connections false`);
  await admin.query(`select pg_terminate_backend(pid) ${OTHERS}`);
  await work();
  await owner.query(`alter database ${name} allow_connections true`);
  await owner.end();
}

type Answer = ReturnType<Parameters<Sink['answer']>[0]>;
type Received = Parameters<Parameters<Sink['answer']>[0]>[0];

/** Refuses an entry with all that it holds for a reason. */
function quoteEntry(senderFault: boolean): NonNullable<Answer['fail']> {
  return ({ body }) => ({ code: 'Unexpected', reason: `Refused: ${body}`, senderFault });
}

function quoteCall({ entries }: Received): string {
  return `Refused: ${entries.map(({ body }) => body).join()}`;
}
