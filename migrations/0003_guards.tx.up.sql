-- Replaces the row trigger that guards transactions with statement triggers.
--
-- Why: a row trigger that never fires still costs a comparison per row, a tenth of the
-- time of a load. A statement trigger costs nothing, but PostgreSQL does not clone it to
-- partitions. So the row trigger stays on the parent, for partitions that are created
-- manually; Tally's partitions disable it and have a statement trigger instead.
--
-- Also: a month is left alone if a manually created partition with another name covers
-- it, which made the load fail before; and an existing table with rows can become the
-- partition of a month.
--
-- Locks: SHARE ROW EXCLUSIVE on transactions and each partition, briefly.

CREATE TRIGGER only_tally_statements BEFORE INSERT OR UPDATE OR DELETE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();

--bun:split

-- Guards a partition by statement instead of by row.
CREATE FUNCTION tally_guard_partition(part REGCLASS) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER only_tally_statements BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write()', part);
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER only_tally_writes', part);
END $$;

--bun:split

CREATE FUNCTION tally_partition_name(month DATE) RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT 'transactions_' || to_char(month, 'YYYY_MM')
$$;

--bun:split

-- Returns the months that no partition overlaps. Each argument is any day of a month.
CREATE FUNCTION tally_missing_partitions(months DATE[]) RETURNS SETOF DATE LANGUAGE sql STABLE AS $$
    WITH bounds AS (
        SELECT trim(BOTH chr(39) FROM b[1]) AS low, trim(BOTH chr(39) FROM b[2]) AS high
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \((.*)\) TO \((.*)\)') b
        WHERE i.inhparent = 'transactions'::regclass
    ), parts AS (
        SELECT CASE low WHEN 'MINVALUE' THEN '-infinity' ELSE low END::date AS low,
               CASE high WHEN 'MAXVALUE' THEN 'infinity' ELSE high END::date AS high
        FROM bounds
    )
    SELECT DISTINCT date_trunc('month', d)::date AS first FROM unnest(months) d
    WHERE NOT EXISTS (
        SELECT FROM parts
        WHERE low < date_trunc('month', d) + interval '1 month' AND high > date_trunc('month', d)
    )
    ORDER BY first
$$;

--bun:split

-- Attaches a table with the columns and the primary key of transactions as the partition
-- of a month that has none. CREATE TABLE … PARTITION OF would block readers of
-- transactions (ACCESS EXCLUSIVE), ATTACH PARTITION does not (SHARE UPDATE EXCLUSIVE).
CREATE FUNCTION tally_attach_partition(filled REGCLASS, month DATE) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    first_day DATE := date_trunc('month', month)::date;
    next_day  DATE := (date_trunc('month', month) + interval '1 month')::date;
    part      TEXT := tally_partition_name(month);
    key       TEXT;
BEGIN
    SELECT conname INTO STRICT key FROM pg_constraint WHERE conrelid = filled AND contype = 'p';
    EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', filled, key, part || '_pkey');
    EXECUTE format('ALTER TABLE %s RENAME TO %I', filled, part);
    EXECUTE format('ALTER TABLE transactions ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, first_day, next_day);
    EXECUTE format('CREATE TRIGGER only_tally_truncates BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write()', part);
    PERFORM tally_guard_partition(part::regclass);
END $$;

--bun:split

-- Creates the partition of a month if it is missing. The caller holds the load lock, so
-- no two sessions create the same partition.
CREATE OR REPLACE FUNCTION tally_ensure_partition(month DATE) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM tally_missing_partitions(ARRAY[month])) THEN
        RETURN false;
    END IF;
    CREATE TABLE tally_new_partition (LIKE transactions INCLUDING DEFAULTS INCLUDING INDEXES);
    PERFORM tally_attach_partition('tally_new_partition', month);
    RETURN true;
END $$;

--bun:split

SELECT tally_guard_partition(c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'transactions'::regclass AND c.relname ~ '^transactions_[0-9]{4}_[0-9]{2}$';

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0003', 1, now());
