-- What has been delivered. Its row and the effect are committed together, so that a message that comes again finds it.
create table if not exists deliveries (
  notification_id uuid not null,
  user_id integer not null,
  channel text not null,
  delivered_at timestamptz not null default now(),
  primary key (notification_id, user_id, channel)
);

-- Rows come in the order of their time: a BRIN index costs next to nothing, and finds the old ones.
create index if not exists deliveries_delivered_at on deliveries using brin (delivered_at);

-- The effect of main.ts: what a process of yours takes to the provider, with the dedup key as its idempotency key.
create table if not exists outbox (
  dedup_key text primary key,
  channel text not null,
  address text not null,
  subject text,
  payload text not null,
  created_at timestamptz not null default now()
);
