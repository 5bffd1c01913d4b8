-- Creates the ledger and the audit trail: runs, attempts, files, rejects, logs, events.
--
-- Why: River deletes completed jobs after a day, and a killed worker cannot record its
-- outcome. These tables are independent of River and append-only. The view
-- etl_run_status derives the status of a run from its attempts and their outcomes, so
-- no row is ever updated.
--
-- Locks: only new tables.

CREATE TABLE etl_runs (
    id           BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         TEXT        NOT NULL CHECK (kind IN ('nightly', 'backfill', 'manual')),
    logical_date DATE        NOT NULL,
    requested_by TEXT        NOT NULL,
    paths        TEXT[]      NOT NULL DEFAULT '{}',
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON TABLE etl_runs IS 'What is to be done: one run a logical date (the day that has just ended), and one for each call by hand with paths.';
COMMENT ON COLUMN etl_runs.kind IS 'nightly and backfill: the configured sources, one run a logical date; manual: the paths given by hand.';

CREATE UNIQUE INDEX etl_runs_one_a_date ON etl_runs (logical_date) WHERE kind <> 'manual';

CREATE TABLE etl_attempts (
    run_id       BIGINT      NOT NULL REFERENCES etl_runs,
    attempt      INT         NOT NULL CHECK (attempt >= 1),
    job_id       BIGINT,
    worker       TEXT        NOT NULL,
    code_version TEXT        NOT NULL,
    started_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, attempt)
);

COMMENT ON TABLE etl_attempts IS 'Each start of a run. The highest attempt is the only one that may commit.';
COMMENT ON COLUMN etl_attempts.job_id IS 'River''s job, which River deletes a day after it completed; NULL for a run in the foreground.';

CREATE TABLE etl_outcomes (
    run_id      BIGINT      NOT NULL,
    attempt     INT         NOT NULL,
    status      TEXT        NOT NULL CHECK (status IN ('succeeded', 'failed', 'retrying', 'interrupted', 'lost')),
    error       TEXT,
    finished_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, attempt),
    FOREIGN KEY (run_id, attempt) REFERENCES etl_attempts
);

COMMENT ON TABLE etl_outcomes IS 'How an attempt ended; lost: its process went away without a word, noted by the next attempt.';

CREATE SEQUENCE etl_files_id_seq AS BIGINT;

CREATE TABLE etl_files (
    id           BIGINT      PRIMARY KEY DEFAULT nextval('etl_files_id_seq'),
    run_id       BIGINT      NOT NULL,
    attempt      INT         NOT NULL,
    source       TEXT        NOT NULL,
    path         TEXT        NOT NULL,
    sha256       BYTEA       CHECK (length(sha256) = 32),
    bytes        BIGINT      NOT NULL,
    status       TEXT        NOT NULL CHECK (status IN ('loaded', 'failed')),
    error_code   TEXT,
    error        TEXT,
    read         BIGINT      NOT NULL,
    loaded       BIGINT      NOT NULL,
    duplicate    BIGINT      NOT NULL,
    conflict     BIGINT      NOT NULL,
    rejected     BIGINT      NOT NULL,
    replaced     BIGINT      NOT NULL DEFAULT 0,
    faults       JSONB       NOT NULL DEFAULT '{}',
    total_amount NUMERIC     NOT NULL DEFAULT 0,
    rules        JSONB       NOT NULL,
    code_version TEXT        NOT NULL,
    started_at   TIMESTAMPTZ NOT NULL,
    finished_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (run_id, attempt) REFERENCES etl_attempts,
    CONSTRAINT every_row_accounted_for CHECK (
        CASE status
            WHEN 'loaded' THEN read = loaded + duplicate + conflict + rejected AND error IS NULL
            ELSE loaded = 0 AND error IS NOT NULL
        END)
);

COMMENT ON TABLE etl_files IS 'Each file whose reading ended, in the commit of its rows. Content that is already loaded leaves a log line and no row here.';
COMMENT ON COLUMN etl_files.sha256 IS 'Of the content after decompression; of a failed file that cannot be decompressed, of its bytes as they are.';
COMMENT ON COLUMN etl_files.bytes IS 'Length of the content after decompression.';
COMMENT ON COLUMN etl_files.replaced IS 'Those of loaded that took a stored row''s place (corrections: replace).';
COMMENT ON COLUMN etl_files.faults IS 'Rejected rows by their first fault; the values add up to rejected.';
COMMENT ON COLUMN etl_files.rules IS 'The source''s rules under which the file was read.';
COMMENT ON CONSTRAINT every_row_accounted_for ON etl_files IS 'read = loaded + duplicate + conflict + rejected; of a failed file nothing is loaded.';

CREATE UNIQUE INDEX etl_files_content_once ON etl_files (sha256) WHERE status = 'loaded';
CREATE INDEX etl_files_run ON etl_files (run_id, id);

CREATE TABLE etl_rejects (
    file_id        BIGINT NOT NULL,
    line           BIGINT NOT NULL,
    outcome        TEXT   NOT NULL CHECK (outcome IN ('rejected', 'duplicate', 'conflict')),
    faults         TEXT[] NOT NULL DEFAULT '{}',
    transaction_id TEXT,
    kept_file_id   BIGINT,
    kept_line      BIGINT,
    raw            TEXT   NOT NULL,
    raw_bytes      BYTEA,
    raw_length     BIGINT NOT NULL,
    PRIMARY KEY (file_id, line),
    CHECK ((outcome = 'rejected') = (faults <> '{}'))
);

COMMENT ON TABLE etl_rejects IS 'Every row that was read and not loaded.';
COMMENT ON COLUMN etl_rejects.kept_file_id IS 'Of a duplicate or conflict: the file of the row that was kept.';
COMMENT ON COLUMN etl_rejects.raw IS 'The row as it stands in the file, at most the first 65536 bytes; bytes that are no text are shown as U+FFFD.';
COMMENT ON COLUMN etl_rejects.raw_bytes IS 'The same to the byte, where raw cannot be.';
COMMENT ON COLUMN etl_rejects.raw_length IS 'Length of the row in the file, in bytes.';

CREATE TABLE etl_logs (
    id      BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id  BIGINT      NOT NULL,
    attempt INT         NOT NULL,
    at      TIMESTAMPTZ NOT NULL,
    level   TEXT        NOT NULL,
    message TEXT        NOT NULL,
    attrs   JSONB       NOT NULL DEFAULT '{}'
);

COMMENT ON TABLE etl_logs IS 'Log lines of the attempts, written while they run, outside the load''s transaction.';

CREATE INDEX etl_logs_run ON etl_logs (run_id, id);

CREATE TABLE audit_events (
    id      BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    actor   TEXT        NOT NULL,
    action  TEXT        NOT NULL,
    subject TEXT        NOT NULL,
    origin  TEXT        NOT NULL DEFAULT '',
    detail  JSONB       NOT NULL DEFAULT '{}'
);

COMMENT ON TABLE audit_events IS 'Who asked for what, from where: runs requested, midnights skipped by policy, changes through River UI.';

-- The only mutable row of the ledger: the last logical date that the schedule has processed.
CREATE TABLE etl_schedule (
    only_row   BOOLEAN     PRIMARY KEY DEFAULT true CHECK (only_row),
    last_date  DATE        NOT NULL,
    time_zone  TEXT        NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON TABLE etl_schedule IS 'The watermark of the schedule: every logical date up to last_date is in etl_runs or was skipped by policy.';

--bun:split

CREATE FUNCTION tally_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: the audit trail only grows', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

--bun:split

DO $$
DECLARE
    t TEXT;
BEGIN
    FOREACH t IN ARRAY ARRAY['etl_runs', 'etl_attempts', 'etl_outcomes', 'etl_files', 'etl_rejects', 'etl_logs', 'audit_events', 'transaction_versions'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only()', t);
    END LOOP;
END $$;

--bun:split

CREATE VIEW etl_run_status AS
SELECT r.id, r.kind, r.logical_date, r.requested_by, r.paths, r.created_at,
       CASE WHEN a.attempt IS NULL THEN 'due' ELSE coalesce(o.status, 'running') END AS status,
       coalesce(a.attempt, 0) AS attempt, a.job_id, a.worker, a.code_version, a.started_at,
       o.finished_at, o.error
FROM etl_runs r
LEFT JOIN LATERAL (
    SELECT * FROM etl_attempts a WHERE a.run_id = r.id ORDER BY attempt DESC LIMIT 1
) a ON true
LEFT JOIN etl_outcomes o ON o.run_id = a.run_id AND o.attempt = a.attempt;

COMMENT ON VIEW etl_run_status IS 'Each run with its latest attempt. due: not started yet; running: started and not ended (or killed, until the next attempt notes it as lost).';

--bun:split

-- Recorded in the same transaction: a process that is killed right after the commit
-- must not leave a migration that is applied but not recorded.
INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0002', 1, now());
