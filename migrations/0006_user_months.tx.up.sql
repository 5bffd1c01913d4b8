-- A rollup by user and month.
--
-- Why: a summary of some days is asked for about as often as the whole one. Read from
-- transactions it takes a look into the partition of every month in the range, ten
-- times the whole summary's time for a year; read from here it takes one index range,
-- and at most two months' rows where the range cuts them. docs/performance.md has what
-- both cost, in reads and in loads.
--
-- It has no version or file of its own: user_summary's moves whenever a row here does.
--
-- Locks: transactions against writers while the table is filled, some seconds for
-- each million rows.

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
