-- Keeps which sources a run has read.
--
-- Why: the runs of a source go in the order of their dates, and a source whose store is
-- unavailable for days must not hold up the other sources of later dates.
--
-- Locks: only a new table.

CREATE TABLE etl_run_sources (
    run_id   BIGINT      NOT NULL,
    attempt  INT         NOT NULL,
    source   TEXT        NOT NULL,
    files    INT         NOT NULL,
    failed   INT         NOT NULL,
    ended_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, source, attempt),
    FOREIGN KEY (run_id, attempt) REFERENCES etl_attempts
);

COMMENT ON TABLE etl_run_sources IS 'The sources that an attempt at the run of a date has read to their end. A run of a later date reads a source after that, or after the end of the run.';
COMMENT ON COLUMN etl_run_sources.files IS 'Files that were listed and read, those that were known before included.';
COMMENT ON COLUMN etl_run_sources.failed IS 'Those that failed, and failures besides a file''s, such as the listing of the source.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_run_sources
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0011', 1, now());
