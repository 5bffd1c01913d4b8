-- Records which months have left transactions, and lets records past their retention go.
--
-- Why: old months are taken out as whole partitions. Their ids stay in transaction_keys, so
-- that they cannot be loaded again, and their totals may stay in the rollups. What cannot be
-- recomputed any more is fixed here: rows, amount, and checksums of keys and rollups.
--
-- Locks: only new tables.

CREATE TABLE etl_retired (
    month           DATE    PRIMARY KEY CHECK (extract(day FROM month) = 1),
    change          BIGINT  NOT NULL,
    before          DATE    NOT NULL CHECK (before > month),
    rows            BIGINT  NOT NULL CHECK (rows > 0),
    amount          NUMERIC NOT NULL,
    totals          TEXT    NOT NULL CHECK (totals IN ('kept', 'dropped')),
    kept_table      TEXT,
    keys_hash       NUMERIC NOT NULL,
    months_hash     NUMERIC,
    days_hash       NUMERIC,
    exported_to     TEXT,
    exported_path   TEXT,
    exported_sha256 TEXT,
    CHECK ((totals = 'kept') = (months_hash IS NOT NULL) AND (totals = 'kept') = (days_hash IS NOT NULL))
);

COMMENT ON TABLE etl_retired IS 'Months whose rows were taken out of transactions. Their ids stay in transaction_keys.';
COMMENT ON COLUMN etl_retired.change IS 'audit_chain.number of the commit.';
COMMENT ON COLUMN etl_retired.before IS 'The commit retired all months before this one: no row of such a month is loaded any more.';
COMMENT ON COLUMN etl_retired.totals IS 'kept: the rollups still have the month; dropped: it was taken out of them.';
COMMENT ON COLUMN etl_retired.kept_table IS 'The table that has the rows, outside transactions; NULL: it was dropped.';
COMMENT ON COLUMN etl_retired.keys_hash IS 'Sum of the hashes of its keys, months_hash and days_hash of its rows in user_months and daily_totals.';

CREATE TABLE etl_retired_files (
    month   DATE   NOT NULL REFERENCES etl_retired,
    file_id BIGINT NOT NULL,
    rows    BIGINT NOT NULL CHECK (rows > 0),
    PRIMARY KEY (month, file_id)
);

COMMENT ON TABLE etl_retired_files IS 'How many of the retired rows came from each file.';

CREATE INDEX etl_retired_files_file ON etl_retired_files (file_id);

CREATE VIEW etl_retired_before AS SELECT coalesce(max(before), '-infinity') AS before FROM etl_retired;

COMMENT ON VIEW etl_retired_before IS 'The first day that is not retired; -infinity: no day is.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_retired
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_retired_files
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

-- Files whose records about single rows were removed, as the settings for retention say.
CREATE TABLE etl_expired_rejects (
    file_id BIGINT PRIMARY KEY,
    change  BIGINT NOT NULL,
    rows    BIGINT NOT NULL
);

COMMENT ON TABLE etl_expired_rejects IS 'Files whose rows in etl_rejects are past their retention, and were removed.';
COMMENT ON COLUMN etl_expired_rejects.change IS 'audit_chain.number of the commit, whose entry has their digests.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON etl_expired_rejects
    FOR EACH STATEMENT EXECUTE FUNCTION tally_append_only();

--bun:split

-- The one exception: a removal that has an entry in the audit chain, in the same commit.
CREATE OR REPLACE FUNCTION tally_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('etl_rejects', 'etl_logs', 'audit_events')
       AND current_setting('tally.writer', true) = 'expire' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% on % refused: the audit trail only grows', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0019', 1, now());
