-- Creates transactions with the required columns, its key table and its rollups.
--
-- Why: transactions is partitioned by month so that loads, pruning, vacuum and
-- retention work on one month at a time. PostgreSQL cannot enforce a unique
-- transaction_id across partitions (a unique index must include the partition key), so
-- transaction_keys does. Tally sets the parameter tally.writer for each transaction
-- that writes to these tables; triggers reject all other writes, since they would make
-- the keys or the rollups inconsistent.
--
-- Locks: only new tables.

CREATE SEQUENCE transactions_id_seq AS BIGINT;

CREATE TABLE transactions (
    id               BIGINT           NOT NULL DEFAULT nextval('transactions_id_seq'),
    transaction_id   VARCHAR(50)      NOT NULL,
    user_id          INT              NOT NULL,
    amount           FLOAT            NOT NULL,
    transaction_date DATE             NOT NULL,
    file_id          BIGINT           NOT NULL,
    line             BIGINT           NOT NULL,
    PRIMARY KEY (user_id, transaction_date, id)
) PARTITION BY RANGE (transaction_date);

COMMENT ON TABLE transactions IS 'Cleaned transactions, one row a transaction_id, partitioned by month of transaction_date.';
COMMENT ON COLUMN transactions.amount IS 'At most 15 significant digits and 4 decimals, so that amount::numeric is exactly what the file said.';
COMMENT ON COLUMN transactions.file_id IS 'etl_files.id of the file that the row came from.';
COMMENT ON COLUMN transactions.line IS 'Line of that file on which the row starts; the header is line 1.';

CREATE TABLE transaction_keys (
    transaction_id   TEXT COLLATE "C" PRIMARY KEY,
    user_id          INT  NOT NULL,
    transaction_date DATE NOT NULL
);

COMMENT ON TABLE transaction_keys IS 'Keeps transaction_id unique across the partitions of transactions, and says where each one is.';

CREATE TABLE user_summary (
    user_id            INT         PRIMARY KEY CHECK (user_id >= 1),
    total_transactions BIGINT      NOT NULL CHECK (total_transactions > 0),
    total_amount       NUMERIC     NOT NULL,
    version            BIGINT      NOT NULL DEFAULT 1,
    file_id            BIGINT      NOT NULL,
    updated_at         TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

COMMENT ON TABLE user_summary IS 'Count and exact sum of each user''s transactions, moved in the commit that moves the rows.';
COMMENT ON COLUMN user_summary.version IS 'Counts the changes of this row.';
COMMENT ON COLUMN user_summary.file_id IS 'etl_files.id of the last file that changed this row.';

CREATE TABLE daily_totals (
    transaction_date   DATE        PRIMARY KEY,
    total_transactions BIGINT      NOT NULL CHECK (total_transactions > 0),
    total_amount       NUMERIC     NOT NULL,
    version            BIGINT      NOT NULL DEFAULT 1,
    file_id            BIGINT      NOT NULL,
    updated_at         TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

COMMENT ON TABLE daily_totals IS 'Count and exact sum of all transactions of a day, moved in the commit that moves the rows.';

-- The previous versions of rows that corrections: replace has replaced.
CREATE TABLE transaction_versions (
    transaction_id   VARCHAR(50) NOT NULL,
    user_id          INT         NOT NULL,
    amount           FLOAT       NOT NULL,
    transaction_date DATE        NOT NULL,
    file_id          BIGINT      NOT NULL,
    line             BIGINT      NOT NULL,
    replaced_by_file BIGINT      NOT NULL,
    replaced_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction_id, replaced_by_file)
);

COMMENT ON TABLE transaction_versions IS 'Rows that a later file''s row replaced, where a source says corrections: replace.';

--bun:split

CREATE FUNCTION tally_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('tally.writer', true) = 'tally' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% on % refused: only Tally writes here, since a row, its key and its rollups move together',
        TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Load a file with "tally run FILE". To write by hand on purpose, SET LOCAL tally.writer = ''tally'' in that transaction, then run "tally verify".';
END $$;

COMMENT ON FUNCTION tally_refuse_write() IS 'Refuses writes that do not come from Tally. As a row trigger it hangs on a WHEN clause, so that a load pays one comparison a row and no call.';

--bun:split

-- A row trigger, not a statement trigger: PostgreSQL clones it to every partition,
-- also to those created manually, so direct writes to a partition are rejected too.
-- AFTER, since a BEFORE ROW trigger would disable COPY's multi-row inserts.
CREATE TRIGGER only_tally_writes AFTER INSERT OR UPDATE OR DELETE ON transactions
    FOR EACH ROW WHEN (current_setting('tally.writer', true) IS DISTINCT FROM 'tally')
    EXECUTE FUNCTION tally_refuse_write();
CREATE TRIGGER only_tally_truncates BEFORE TRUNCATE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();
CREATE TRIGGER only_tally_writes BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON transaction_keys
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();
CREATE TRIGGER only_tally_writes BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON user_summary
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();
CREATE TRIGGER only_tally_writes BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON daily_totals
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();

--bun:split

-- Creates the partition of a month if it is missing. It creates a table and attaches
-- it: CREATE TABLE … PARTITION OF would block readers of transactions (ACCESS
-- EXCLUSIVE), ATTACH PARTITION does not (SHARE UPDATE EXCLUSIVE). The caller holds the
-- load lock, so no two sessions create the same partition.
CREATE FUNCTION tally_ensure_partition(month DATE) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    first_day DATE := date_trunc('month', month)::date;
    next_day  DATE := (date_trunc('month', month) + interval '1 month')::date;
    part      TEXT := 'transactions_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF EXISTS (
        SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'transactions'::regclass AND c.relname = part
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE transactions INCLUDING DEFAULTS INCLUDING INDEXES)', part);
    EXECUTE format('ALTER TABLE transactions ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, first_day, next_day);
    EXECUTE format('CREATE TRIGGER only_tally_truncates BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write()', part);
    RETURN true;
END $$;

--bun:split

-- Recorded in the same transaction: a process that is killed right after the commit
-- must not leave a migration that is applied but not recorded.
INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0001', 1, now());
