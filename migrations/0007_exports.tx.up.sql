-- Creates the log of exports, and the id of this database in its exports.
--
-- Why: an export removes the files of the previous one. The id shows whether they came
-- from this database. A copy of a database has the same id.
--
-- Locks: only new tables.

CREATE TABLE lake (
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    id       UUID    NOT NULL DEFAULT gen_random_uuid()
);

COMMENT ON TABLE lake IS 'One row: the id by which an export knows its own database.';

INSERT INTO lake DEFAULT VALUES;

CREATE TABLE etl_exports (
    id            BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        BIGINT,
    job_id        BIGINT,
    requested_by  TEXT        NOT NULL,
    target        TEXT        NOT NULL,
    status        TEXT        NOT NULL CHECK (status IN ('succeeded', 'retrying', 'failed', 'interrupted')),
    error         TEXT,
    epoch         BIGINT      NOT NULL,
    last_file_id  BIGINT      NOT NULL,
    files         INT         NOT NULL,
    written       INT         NOT NULL,
    removed       INT         NOT NULL,
    rows          BIGINT      NOT NULL,
    total_amount  NUMERIC     NOT NULL,
    bytes         BIGINT      NOT NULL,
    bytes_written BIGINT      NOT NULL,
    worker        TEXT        NOT NULL,
    code_version  TEXT        NOT NULL,
    started_at    TIMESTAMPTZ NOT NULL,
    finished_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status = 'succeeded') = (error IS NULL))
);

COMMENT ON TABLE etl_exports IS 'Each export that ended, and how. One that was killed has no row of its own; the next one cleans up.';
COMMENT ON COLUMN etl_exports.run_id IS 'The run after which it was due; NULL for one by hand.';
COMMENT ON COLUMN etl_exports.rows IS 'Of transactions, in the export as it is then; 0 where it failed before that was known.';
COMMENT ON COLUMN etl_exports.bytes_written IS 'Of the files that had changed.';

CREATE INDEX etl_exports_run ON etl_exports (run_id) WHERE run_id IS NOT NULL;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_exports
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();
-- UPDATE is allowed: a copy of a database needs a new id.
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON lake
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0007', 1, now());
