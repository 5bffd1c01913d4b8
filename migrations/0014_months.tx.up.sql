-- Finds the months without a partition at the cost of these months, creates several
-- partitions at once, and drops empty ones.
--
-- Why: each month that a load looked for cost a look at every partition's bounds, and
-- creating one looked for it again: 2,400 rows in 2,400 new months took two minutes. A
-- month is now found by its partition's name; the bounds of all partitions are read once,
-- and only if a month is not found that way.
--
-- Locks: none.

-- Returns the months that no partition overlaps. Each argument is any day of a month.
CREATE OR REPLACE FUNCTION tally_missing_partitions(months DATE[]) RETURNS SETOF DATE LANGUAGE sql STABLE AS $$
    SELECT first
    FROM (
        SELECT DISTINCT date_trunc('month', d)::date AS first, (date_trunc('month', d) + interval '1 month')::date AS next
        FROM unnest(months) d
    ) m
    -- CASE keeps the planner from evaluating the second subquery before the first.
    WHERE CASE (
            SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
            WHERE c.oid = to_regclass(tally_partition_name(first)) AND i.inhparent = 'transactions'::regclass
        )
        WHEN format('FOR VALUES FROM (%L) TO (%L)', first, next) THEN false
        ELSE NOT daterange(first, next) && coalesce((
            SELECT range_agg(daterange(nullif(trim(BOTH chr(39) FROM b[1]), 'MINVALUE')::date,
                                       nullif(trim(BOTH chr(39) FROM b[2]), 'MAXVALUE')::date))
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \((.*)\) TO \((.*)\)') b
            WHERE i.inhparent = 'transactions'::regclass AND b IS NOT NULL
        ), '{}')
    END
    ORDER BY first
$$;

--bun:split

-- Creates the partitions of months that have none, and returns how many. The caller holds
-- the load lock, so no two sessions create the same partition.
CREATE FUNCTION tally_ensure_partitions(months DATE[]) RETURNS INT LANGUAGE plpgsql AS $$
DECLARE
    month DATE;
    made  INT := 0;
BEGIN
    FOR month IN SELECT tally_missing_partitions(months) LOOP
        CREATE TABLE tally_new_partition (LIKE transactions INCLUDING DEFAULTS INCLUDING INDEXES);
        PERFORM tally_attach_partition('tally_new_partition', month);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

--bun:split

CREATE OR REPLACE FUNCTION tally_ensure_partition(month DATE) RETURNS BOOLEAN LANGUAGE sql AS $$
    SELECT tally_ensure_partitions(ARRAY[month]) > 0
$$;

--bun:split

-- Drops the partitions of transactions that hold no rows, one after the other, each in a
-- transaction of its own. It takes turns with loads: one may have created a partition that
-- it has not filled yet. Readers of transactions wait while it drops one; if they do not
-- let it begin within five seconds, it ends with an error, and can be called again.
CREATE PROCEDURE tally_drop_empty_partitions() LANGUAGE plpgsql AS $$
DECLARE
    part   REGCLASS;
    filled BOOLEAN;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'transactions'::regclass ORDER BY inhrelid::regclass::text LOOP
        PERFORM pg_advisory_xact_lock(127961779697922); -- the load lock
        SET LOCAL lock_timeout = '5s';
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', part) INTO filled;
        IF NOT filled THEN
            EXECUTE format('DROP TABLE %s', part);
            RAISE NOTICE 'dropped %', part;
        END IF;
        COMMIT;
    END LOOP;
END $$;

COMMENT ON PROCEDURE tally_drop_empty_partitions() IS 'Drops partitions of transactions that hold no rows. It commits, so call it outside a transaction.';

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0014', 1, now());
