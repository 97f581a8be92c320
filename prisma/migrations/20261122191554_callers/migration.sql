-- CreateTable
CREATE TABLE "api_keys" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "scopes" TEXT[],
    "secret_hash" BYTEA NOT NULL,
    "daily_recipients" INTEGER,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT transaction_timestamp(),
    "expires_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),
    "last_used_on" DATE,

    CONSTRAINT "api_keys_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "usage" (
    "principal" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "window_start" TIMESTAMPTZ(3) NOT NULL,
    "used" INTEGER NOT NULL,
    "allowed" INTEGER NOT NULL,

    CONSTRAINT "usage_pkey" PRIMARY KEY ("principal","kind")
);

-- CreateTable
CREATE TABLE "audit_log" (
    "id" UUID NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT transaction_timestamp(),
    "principal" TEXT NOT NULL,
    "action" TEXT NOT NULL,
    "object" TEXT NOT NULL,
    "outcome" TEXT NOT NULL,
    "request_id" TEXT,

    CONSTRAINT "audit_log_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "api_keys_name_idx" ON "api_keys"("name");

-- CreateIndex
CREATE INDEX "audit_log_object_id_idx" ON "audit_log"("object", "id");

-- CreateIndex
CREATE INDEX "notifications_created_by_id_idx" ON "notifications"("created_by", "id");

-- CreateIndex
CREATE INDEX "notifications_created_by_status_id_idx" ON "notifications"("created_by", "status", "id");

-- By hand: what the schema language cannot say.
-- An allowance that would be exceeded undoes the statement that charges it.
ALTER TABLE "usage" ADD CONSTRAINT "usage_within_allowance" CHECK ("used" <= "allowed");

-- The audit log only grows, whoever asks.
CREATE FUNCTION "refuse_audit_change"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit_log is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER "audit_log_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "audit_log"
  FOR EACH STATEMENT EXECUTE FUNCTION "refuse_audit_change"();
-- Also where triggers are off by default, as on a replica.
ALTER TABLE "audit_log" ENABLE ALWAYS TRIGGER "audit_log_append_only";
