-- Creates the log of verifications.
--
-- Why: a worker verifies the database after each night's run. Its result must outlive the
-- job, which River deletes after a day, and the log of the process.
--
-- Locks: only a new table.

CREATE TABLE etl_verifications (
    id           BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    logical_date DATE,
    job_id       BIGINT,
    requested_by TEXT        NOT NULL,
    status       TEXT        NOT NULL CHECK (status IN ('clean', 'drift', 'retrying', 'failed')),
    error        TEXT,
    rows         BIGINT      NOT NULL,
    users        BIGINT      NOT NULL,
    days         BIGINT      NOT NULL,
    files        BIGINT      NOT NULL,
    differences  BIGINT      NOT NULL,
    found        JSONB       NOT NULL DEFAULT '[]',
    worker       TEXT        NOT NULL,
    code_version TEXT        NOT NULL,
    started_at   TIMESTAMPTZ NOT NULL,
    finished_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status IN ('clean', 'drift')) = (error IS NULL)),
    CHECK (status <> 'clean' OR differences = 0),
    CHECK (status <> 'drift' OR differences > 0)
);

COMMENT ON TABLE etl_verifications IS 'Each verification that ended, and its result. One that was killed has no row; it is repeated.';
COMMENT ON COLUMN etl_verifications.logical_date IS 'The logical date after whose run it was due; NULL for one by hand.';
COMMENT ON COLUMN etl_verifications.status IS 'clean: no differences; drift: there are some; retrying: it could not end and is tried again; failed: it is not.';
COMMENT ON COLUMN etl_verifications.rows IS 'Of transactions that were read; 0 where it failed before.';
COMMENT ON COLUMN etl_verifications.differences IS 'All that were found; found has only the first ones.';
COMMENT ON COLUMN etl_verifications.found IS 'The first differences, each with its table, key, field, stored and recomputed value.';

CREATE INDEX etl_verifications_date ON etl_verifications (logical_date) WHERE logical_date IS NOT NULL;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_verifications
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0010', 1, now());
