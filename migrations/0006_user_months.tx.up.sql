-- Creates a rollup by user and month.
--
-- Why: clients request summaries of a date range about as often as complete ones. From
-- transactions, such a summary takes an index scan in the partition of every month in
-- the range, for a year ten times the time of a complete summary. From this table it
-- takes one index scan, plus the rows of at most two months that the range covers in
-- part. docs/performance.md has the cost of both, for reads and for loads.
--
-- It has no version or file_id: those of user_summary change with every change here.
--
-- Locks: SHARE on transactions, which blocks writers, while the table is filled.
-- Blocks: loads, about 3 s per million rows of transactions.

LOCK TABLE transactions IN SHARE MODE;

CREATE TABLE user_months (
    user_id            INT     NOT NULL,
    month              DATE    NOT NULL CHECK (extract(day FROM month) = 1),
    total_transactions BIGINT  NOT NULL CHECK (total_transactions > 0),
    total_amount       NUMERIC NOT NULL
) WITH (fillfactor = 80);

COMMENT ON TABLE user_months IS 'Count and exact sum of each user''s transactions of a month, moved in the commit that moves the rows.';
COMMENT ON COLUMN user_months.month IS 'The first day of the month.';

INSERT INTO user_months
SELECT user_id, date_trunc('month', transaction_date)::date, count(*), sum(amount::numeric)
FROM transactions GROUP BY 1, 2 ORDER BY 1, 2;

ALTER TABLE user_months ADD PRIMARY KEY (user_id, month);

CREATE TRIGGER only_tally_writes BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON user_months
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0006', 1, now());
