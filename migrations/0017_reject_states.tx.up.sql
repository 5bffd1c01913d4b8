-- Records what became of rejected rows and conflicts after the load, and which files were
-- taken back out.
--
-- Why: a reject can be read again under other settings, corrected, decided or closed, and
-- each of that once. etl_rejects and etl_files keep what the load found; the last row here
-- is a reject's state. Reading a row again takes the layout of its file besides its text.
--
-- Locks: etl_files and etl_rejects for a moment, as the new columns have no default.
-- Blocks: loads while an index on etl_rejects is built, about 1 s per million duplicates and conflicts.

ALTER TABLE etl_files
    ADD COLUMN layout      JSONB,
    ADD COLUMN first_month DATE,
    ADD COLUMN last_month  DATE;

COMMENT ON COLUMN etl_files.layout IS 'How its rows are cut into columns; NULL: files of earlier versions, whose rejects cannot be read again.';
COMMENT ON COLUMN etl_files.first_month IS 'The month of the earliest of the rows that its load stored; NULL: there are none.';

CREATE TABLE etl_reject_states (
    file_id      BIGINT NOT NULL,
    line         BIGINT NOT NULL,
    change       BIGINT NOT NULL,
    state        TEXT   NOT NULL CHECK (state IN ('open', 'replayed', 'fixed', 'settled', 'discarded')),
    outcome      TEXT   NOT NULL CHECK (outcome IN ('loaded', 'duplicate', 'conflict', 'rejected')),
    kept_file_id BIGINT,
    kept_line    BIGINT,
    PRIMARY KEY (file_id, line, change)
);

COMMENT ON TABLE etl_reject_states IS 'What became of rows of etl_rejects since their load; the row with the highest change holds. None: open.';
COMMENT ON COLUMN etl_reject_states.change IS 'audit_chain.number of the commit.';
COMMENT ON COLUMN etl_reject_states.outcome IS 'Of the row: loaded, or why it is not.';
COMMENT ON COLUMN etl_reject_states.kept_file_id IS 'Of a duplicate or conflict: the file of the row that was kept.';

CREATE TABLE etl_reverts (
    file_id BIGINT PRIMARY KEY,
    change  BIGINT NOT NULL
);

COMMENT ON TABLE etl_reverts IS 'Files whose rows were taken back out.';

CREATE INDEX etl_rejects_kept ON etl_rejects (kept_file_id) WHERE kept_file_id IS NOT NULL;
CREATE INDEX etl_reject_states_kept ON etl_reject_states (kept_file_id) WHERE kept_file_id IS NOT NULL;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_reject_states
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_reverts
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

-- Another file may prove again what only a reverted one had proven.
ALTER TABLE etl_conventions DROP CONSTRAINT etl_conventions_pkey, ADD PRIMARY KEY (source, convention, value, file_id);

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0017', 1, now());
