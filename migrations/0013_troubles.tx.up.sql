-- Creates etl_troubles: files that an attempt set aside, because of the database server or
-- of temporary files.
--
-- Why: such an error says nothing about the file at first, so the file is tried again. A
-- file that meets one in each attempt, while others are loaded, has to be found.
--
-- Locks: only a new table.

CREATE TABLE etl_troubles (
    id      BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id  BIGINT      NOT NULL,
    attempt INT         NOT NULL,
    source  TEXT        NOT NULL,
    path    TEXT        NOT NULL,
    trouble TEXT        NOT NULL,
    error   TEXT        NOT NULL,
    at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (run_id, attempt) REFERENCES etl_attempts
);

COMMENT ON TABLE etl_troubles IS 'Files that were set aside in an attempt, which is tried again: nothing is wrong with the file itself, as far as is known.';
COMMENT ON COLUMN etl_troubles.trouble IS 'Such as disk_full, out_of_memory, connection_lost, timeout or no_temporary_space.';

CREATE INDEX etl_troubles_run ON etl_troubles (run_id);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_troubles
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0013', 1, now());
