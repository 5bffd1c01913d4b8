-- Creates the API's tokens.
--
-- Why: on a non-loopback address the API requires authentication. A token's secret is
-- 256 random bits, which cannot be guessed. So SHA-256 protects it as well as a slow
-- password hash, at a negligible cost per request.
--
-- Locks: only a new table.

CREATE TABLE api_tokens (
    id            BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          TEXT        NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$'),
    role          TEXT        NOT NULL CHECK (role IN ('reader', 'operator')),
    secret_sha256 BYTEA       NOT NULL UNIQUE CHECK (length(secret_sha256) = 32),
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_by    TEXT        NOT NULL,
    revoked_at    TIMESTAMPTZ,
    revoked_by    TEXT,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);

COMMENT ON TABLE api_tokens IS 'Tokens of the API. Revoked ones stay, for the audit trail speaks of them.';
COMMENT ON COLUMN api_tokens.role IS 'reader: may read; operator: may also change something.';

CREATE UNIQUE INDEX api_tokens_one_a_name ON api_tokens (name) WHERE revoked_at IS NULL;

--bun:split

-- A token can only be revoked, and only once. Its name and role never change, so that
-- entries of the audit trail stay true.
CREATE FUNCTION tally_only_revoke() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_at IS NOT NULL
       OR (OLD.id, OLD.name, OLD.role, OLD.secret_sha256, OLD.created_at, OLD.created_by)
          IS DISTINCT FROM (NEW.id, NEW.name, NEW.role, NEW.secret_sha256, NEW.created_at, NEW.created_by) THEN
        RAISE EXCEPTION 'UPDATE on api_tokens refused: a token can be revoked, once, and not changed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

--bun:split

CREATE TRIGGER only_revoke BEFORE UPDATE ON api_tokens FOR EACH ROW EXECUTE FUNCTION tally_only_revoke();

--bun:split

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON api_tokens FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

COMMENT ON TABLE audit_events IS 'Who asked for what, from where: runs requested, midnights skipped by policy, changes through River UI, tokens added and revoked, requests refused.';

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0004', 1, now());
