-- CreateEnum
CREATE TYPE "notification_status" AS ENUM ('scheduled', 'queued', 'dispatching', 'paused', 'completed', 'canceled', 'expired');

-- CreateEnum
CREATE TYPE "page_state" AS ENUM ('open', 'settled');

-- CreateTable
CREATE TABLE "users" (
    "user_id" INTEGER NOT NULL,
    "email" TEXT,
    "phone" TEXT,

    CONSTRAINT "users_pkey" PRIMARY KEY ("user_id")
);

-- CreateTable
CREATE TABLE "preferences" (
    "user_id" INTEGER NOT NULL,
    "email_enabled" BOOLEAN NOT NULL DEFAULT false,
    "sms_enabled" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "preferences_pkey" PRIMARY KEY ("user_id")
);

-- CreateTable
CREATE TABLE "notifications" (
    "id" UUID NOT NULL,
    "subject" TEXT,
    "payload" TEXT NOT NULL,
    "user_ids" INTEGER[],
    "everyone" BOOLEAN NOT NULL,
    "channels" TEXT[],
    "status" "notification_status" NOT NULL,
    "created_by" TEXT NOT NULL,
    "idempotency_key" TEXT,
    "request_hash" BYTEA,
    "traceparent" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT transaction_timestamp(),
    "send_at" TIMESTAMPTZ(3),
    "expires_at" TIMESTAMPTZ(3),
    "started_at" TIMESTAMPTZ(3),
    "completed_at" TIMESTAMPTZ(3),
    "waiting_since" TIMESTAMPTZ(3) NOT NULL DEFAULT transaction_timestamp(),
    "cursor" INTEGER NOT NULL DEFAULT 0,
    "exhausted" BOOLEAN NOT NULL DEFAULT false,
    "last_page" INTEGER NOT NULL DEFAULT 0,
    "open_pages" INTEGER NOT NULL DEFAULT 0,
    "targeted" INTEGER NOT NULL DEFAULT 0,
    "published" INTEGER NOT NULL DEFAULT 0,
    "failed" INTEGER NOT NULL DEFAULT 0,
    "messages" INTEGER NOT NULL DEFAULT 0,
    "suppressed" JSONB NOT NULL DEFAULT '{}',
    "by_channel" JSONB NOT NULL DEFAULT '{}',

    CONSTRAINT "notifications_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "pages" (
    "notification_id" UUID NOT NULL,
    "number" INTEGER NOT NULL,
    "first_user_id" INTEGER NOT NULL,
    "last_user_id" INTEGER NOT NULL,
    "users" INTEGER NOT NULL,
    "state" "page_state" NOT NULL DEFAULT 'open',
    "lease_until" TIMESTAMPTZ(3),
    "attempt" INTEGER NOT NULL DEFAULT 1,
    "settled_at" TIMESTAMPTZ(3),
    "user_ids" INTEGER[],
    "message_ids" UUID[],
    "channel_bits" SMALLINT[],
    "failures" JSONB NOT NULL DEFAULT '[]',

    CONSTRAINT "pages_pkey" PRIMARY KEY ("notification_id","number")
);

-- CreateIndex
CREATE INDEX "notifications_status_id_idx" ON "notifications"("status", "id");

-- CreateIndex
CREATE UNIQUE INDEX "notifications_created_by_idempotency_key_key" ON "notifications"("created_by", "idempotency_key");

-- AddForeignKey
ALTER TABLE "pages" ADD CONSTRAINT "pages_notification_id_fkey" FOREIGN KEY ("notification_id") REFERENCES "notifications"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- By hand: partial indexes, which the schema language cannot say.
-- The dispatcher's next notification.
CREATE INDEX "notifications_due" ON "notifications" ("waiting_since") WHERE NOT "exhausted" AND "status" IN ('scheduled', 'queued', 'dispatching');

-- Pages whose lease has expired.
CREATE INDEX "pages_open" ON "pages" ("lease_until") WHERE "state" = 'open';
