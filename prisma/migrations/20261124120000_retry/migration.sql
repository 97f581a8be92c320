-- AlterTable
ALTER TABLE "notifications" ADD COLUMN     "retry_cursor" INTEGER,
ADD COLUMN     "to_retry" INTEGER NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "pages" ADD COLUMN     "published_at" TIMESTAMPTZ(3)[];

-- By hand: reasons are shown from now on, and kept without what looks like an address.
UPDATE "pages" SET "failures" = (
  SELECT jsonb_agg(
    jsonb_set(f, '{reason}', to_jsonb(regexp_replace(f ->> 'reason', '[^\s"<>]*(@|%40)[^\s"<>]*|\+?\d{7,}', '[hidden]', 'g')))
    ORDER BY n)
  FROM jsonb_array_elements("failures") WITH ORDINALITY AS kept(f, n)
) WHERE "failures" <> '[]';

-- By hand: partial indexes, which the schema language cannot say.
-- With those that are being retried.
DROP INDEX "notifications_due";
CREATE INDEX "notifications_due" ON "notifications" ("waiting_since")
  WHERE (NOT "exhausted" OR "to_retry" > 0) AND "status" IN ('scheduled', 'queued', 'dispatching', 'paused');

-- Pages with users whom SNS refused, in the order of their ranges.
CREATE INDEX "pages_failed" ON "pages" ("notification_id", "last_user_id") WHERE "failures" <> '[]';
