-- The guard of transactions by statement, where it was by row.
--
-- Why: a row trigger that never fires still costs a comparison for each row that a
-- load writes, a tenth of the load's time. A statement trigger costs nothing, but
-- PostgreSQL gives it to no partition by itself. So the row trigger stays on the
-- table, from which a partition that somebody makes by hand inherits it; Tally's
-- own partitions have theirs disabled, and a statement trigger instead.
--
-- Also: a month for which somebody has made a partition by hand, under a name of
-- its own, is left as it is, where it failed the load; and a table that was filled
-- before can become a month's partition.
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

CREATE FUNCTION tally_partition_name(month DATE) RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT 'transactions_' || to_char(month, 'YYYY_MM')
$$;

--bun:split

-- The months, given by a day of each, in which no partition has any part.
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

-- Makes a table with the columns and the primary key of transactions the partition
-- of a month, which has none. CREATE TABLE … PARTITION OF would lock readers of
-- transactions out (ACCESS EXCLUSIVE), ATTACH does not (SHARE UPDATE EXCLUSIVE).
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

-- Makes the partition of a month where it is missing. The caller holds the load
-- lock, so no two sessions make the same month.
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
