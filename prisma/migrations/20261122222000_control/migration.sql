-- AlterTable
ALTER TABLE "notifications" ADD COLUMN     "recent_at" TIMESTAMPTZ(3),
ADD COLUMN     "recent_since" TIMESTAMPTZ(3),
ADD COLUMN     "recent_users" DOUBLE PRECISION NOT NULL DEFAULT 0;

-- CreateTable
-- Unlogged by hand: each reservation is a commit that need not wait for the disk, and after a crash the rate starts anew.
CREATE UNLOGGED TABLE "publish_rate" (
    "topic" TEXT NOT NULL,
    "reserved_until" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "publish_rate_pkey" PRIMARY KEY ("topic")
);

-- CreateTable
CREATE TABLE "jobs" (
    "name" TEXT NOT NULL,
    "due_at" TIMESTAMPTZ(3) NOT NULL,
    "holder" UUID,
    "lease_until" TIMESTAMPTZ(3),

    CONSTRAINT "jobs_pkey" PRIMARY KEY ("name")
);

-- By hand: partial indexes, which the schema language cannot say.
-- With the paused ones, which wait for the time they expire.
DROP INDEX "notifications_due";
CREATE INDEX "notifications_due" ON "notifications" ("waiting_since")
  WHERE NOT "exhausted" AND "status" IN ('scheduled', 'queued', 'dispatching', 'paused');

-- What retention removes, oldest first.
CREATE INDEX "notifications_ended" ON "notifications" ("completed_at") WHERE "completed_at" IS NOT NULL;
