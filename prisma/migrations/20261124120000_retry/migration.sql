-- AlterTable
ALTER TABLE "notifications" ADD COLUMN     "retry_cursor" INTEGER,
ADD COLUMN     "to_retry" INTEGER NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "pages" ADD COLUMN     "published_at" TIMESTAMPTZ(3)[];

-- By hand: partial indexes, which the schema language cannot say.
-- With those that are being retried.
DROP INDEX "notifications_due";
CREATE INDEX "notifications_due" ON "notifications" ("waiting_since")
  WHERE (NOT "exhausted" OR "to_retry" > 0) AND "status" IN ('scheduled', 'queued', 'dispatching', 'paused');

-- Pages with users whom SNS refused, in the order of their ranges.
CREATE INDEX "pages_failed" ON "pages" ("notification_id", "last_user_id") WHERE "failures" <> '[]';
