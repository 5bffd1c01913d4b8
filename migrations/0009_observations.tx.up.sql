-- Remembers which content a file had when it was last read, by its path, size and time, or
-- by its object's version.
--
-- Why: a source keeps the files of former nights. Whether their content is loaded already
-- is then known without reading them.
--
-- A row is about a file and not about a load, so it is replaced when the file is read
-- again, and no row of the ledger depends on it: without it the file is read.
--
-- Locks: only a new table.

CREATE TABLE etl_observations (
    source      TEXT        NOT NULL,
    path        TEXT        NOT NULL,
    size        BIGINT      NOT NULL,
    modified    BIGINT      NOT NULL,
    tag         TEXT        NOT NULL,
    sha256      BYTEA       NOT NULL CHECK (length(sha256) = 32),
    bytes       BIGINT      NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON TABLE etl_observations IS 'The content that a file had when it was last read. A file of the same size, time and tag has it still, and is not read again.';
COMMENT ON COLUMN etl_observations.size IS 'Length of the file as stored, in bytes.';
COMMENT ON COLUMN etl_observations.modified IS 'Of a file: when it was modified, Unix time in nanoseconds; of an object 0.';
COMMENT ON COLUMN etl_observations.tag IS 'Of an object: its ETag or generation; of a file empty.';
COMMENT ON COLUMN etl_observations.sha256 IS 'As in etl_files.';
COMMENT ON COLUMN etl_observations.bytes IS 'As in etl_files.';

-- By the checksum of the path, since a path may be longer than an index entry.
CREATE UNIQUE INDEX etl_observations_once ON etl_observations (source, md5(path));

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0009', 1, now());
