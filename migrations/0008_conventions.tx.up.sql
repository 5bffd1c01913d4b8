-- Keeps how a file was read: conventions, hints and warnings; and what a source's files
-- have proven of its conventions.
--
-- Why: a value that could be read in two ways is read as the source's other files prove.
-- Content counts as loaded only if it would be read in the same way again, so it may be in
-- the ledger more than once.
--
-- Locks: etl_files and etl_rejects for a moment, as the new columns have constant defaults;
-- etl_files while its new indexes are built, which takes milliseconds for thousands of files.

ALTER TABLE etl_files
    ADD COLUMN reading     INT    NOT NULL DEFAULT 1,
    ADD COLUMN conventions JSONB  NOT NULL DEFAULT '{}',
    ADD COLUMN hints       TEXT[] NOT NULL DEFAULT '{}',
    ADD COLUMN warnings    TEXT[] NOT NULL DEFAULT '{}',
    ADD COLUMN arrived_as  BIGINT;

COMMENT ON COLUMN etl_files.reading IS 'The version of the program''s rules for reading a value.';
COMMENT ON COLUMN etl_files.conventions IS 'By convention: what held for the file, where that came from, and what its values show.';
COMMENT ON COLUMN etl_files.hints IS 'Settings that would resolve faults of its rows.';
COMMENT ON COLUMN etl_files.warnings IS 'What is odd about the file although it was loaded.';
COMMENT ON COLUMN etl_files.arrived_as IS 'The entry with which the content came to its path, where this one only read it again; NULL: with this one.';

ALTER TABLE etl_rejects ADD COLUMN hints TEXT[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN etl_rejects.hints IS 'Settings that would resolve its faults, each with the cell in its readings.';

--bun:split

DROP INDEX etl_files_content_once;
CREATE INDEX etl_files_content ON etl_files (sha256, id) WHERE status = 'loaded';
CREATE INDEX etl_files_source ON etl_files (source, id);
CREATE INDEX etl_files_replaced ON etl_files (id) WHERE replaced > 0;

CREATE TABLE etl_conventions (
    source     TEXT   NOT NULL,
    convention TEXT   NOT NULL CHECK (convention IN ('slash', 'dash', 'dot', 'decimal', 'currency')),
    value      TEXT   NOT NULL,
    file_id    BIGINT NOT NULL,
    line       BIGINT NOT NULL,
    PRIMARY KEY (source, convention, value),
    CHECK ((convention = 'currency') = (source = ''))
);

COMMENT ON TABLE etl_conventions IS 'What loaded files have proven, by the first value that could be read in one way only. Two values of one convention contradict each other: then it has to be set.';
COMMENT ON COLUMN etl_conventions.source IS 'The source; empty for the currency, which is the database''s.';
COMMENT ON COLUMN etl_conventions.value IS 'mdy or dmy; point or comma; of currency, a mark of a loaded amount.';

CREATE TABLE etl_copies (
    sha256 BYTEA NOT NULL,
    source TEXT  NOT NULL,
    path   TEXT  NOT NULL
);

COMMENT ON TABLE etl_copies IS 'Where content was found again that was loaded from another path, in sources that replace rows: there it has not come back.';

CREATE UNIQUE INDEX etl_copies_once ON etl_copies (sha256, source, md5(path));

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_conventions
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_copies
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0008', 1, now());
