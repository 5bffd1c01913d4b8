-- The guard of transactions by statement, where it was by row.
--
-- Why: a row trigger that never fires still costs a comparison for each row that a
-- load writes, a tenth of the load's time. A statement trigger costs nothing, but
-- PostgreSQL gives it to no partition by itself. So the row trigger stays on the
-- table, from which a partition that somebody makes by hand inherits it; Tally's
-- own partitions have theirs disabled, and a statement trigger instead.
--
-- Also: a month for which somebody has made a partition by hand, under a name of
-- its own, is left as it is, where it failed the load.
--
-- Locks: each partition for an instant, against writers.

CREATE TRIGGER only_tally_statements BEFORE INSERT OR UPDATE OR DELETE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();

--bun:split

-- The caller has made the partition, or is it: its rows are guarded by statement
-- from now on.
CREATE FUNCTION tally_guard_partition(part REGCLASS) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER only_tally_statements BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write()', part);
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER only_tally_writes', part);
END $$;

--bun:split

CREATE OR REPLACE FUNCTION tally_ensure_partition(month DATE) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
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
    BEGIN
        EXECUTE format('CREATE TABLE %I (LIKE transactions INCLUDING DEFAULTS INCLUDING INDEXES)', part);
        EXECUTE format('ALTER TABLE transactions ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, first_day, next_day);
    EXCEPTION WHEN invalid_object_definition THEN -- it would overlap another partition
        RETURN false;
    END;
    EXECUTE format('CREATE TRIGGER only_tally_truncates BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write()', part);
    PERFORM tally_guard_partition(part::regclass);
    RETURN true;
END $$;

--bun:split

SELECT tally_guard_partition(c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'transactions'::regclass AND c.relname ~ '^transactions_[0-9]{4}_[0-9]{2}$';

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0003', 1, now());
