-- Distributes transactions, its rollups by user and its keys over the nodes of a Citus
-- cluster. It runs in one transaction after the numbered migrations, once.
--
-- The rows of a user are on one node: transactions and the rollups by user are distributed
-- by user_id and colocated. The keys are distributed by transaction_id, so that each stays
-- unique. All else stays on the coordinator: the ledger, River's tables, totals by day and
-- former rows.
--
-- Citus has no triggers on distributed tables. The guards of these tables, and the
-- announcement of changes by hand, are dropped: nothing but privileges keeps others from
-- writing to them.
--
-- Locks: ACCESS EXCLUSIVE on the distributed tables, while their rows are copied.

SET LOCAL citus.multi_shard_modify_mode = 'sequential';

DO $$
DECLARE
    t RECORD;
BEGIN
    FOR t IN SELECT tgname, tgrelid::regclass AS guarded FROM pg_trigger
        WHERE NOT tgisinternal AND tgparentid = 0
          AND (tgrelid IN ('transactions'::regclass, 'transaction_keys'::regclass, 'user_summary'::regclass, 'user_months'::regclass)
               OR tgrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'transactions'::regclass))
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.guarded);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION tally_guard_partition(part REGCLASS) RETURNS VOID LANGUAGE sql AS '';

CREATE OR REPLACE FUNCTION tally_attach_partition(filled REGCLASS, month DATE) RETURNS VOID LANGUAGE plpgsql AS $$
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
END $$;

-- As in 0014, but for the column in EXISTS, which a distributed table needs.
CREATE OR REPLACE PROCEDURE tally_drop_empty_partitions() LANGUAGE plpgsql AS $$
DECLARE
    part   REGCLASS;
    filled BOOLEAN;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'transactions'::regclass ORDER BY inhrelid::regclass::text LOOP
        PERFORM pg_advisory_xact_lock(127961779697922); -- the load lock
        SET LOCAL lock_timeout = '5s';
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s LIMIT 1)', part) INTO filled;
        IF NOT filled THEN
            EXECUTE format('DROP TABLE %s', part);
            RAISE NOTICE 'dropped %', part;
        END IF;
        COMMIT;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION tally_table_size(relation REGCLASS) RETURNS BIGINT LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = relation) THEN
        RETURN citus_total_relation_size(relation, fail_on_error => false);
    END IF;
    RETURN pg_total_relation_size(relation);
END $$;

CREATE OR REPLACE FUNCTION tally_distributed() RETURNS BOOLEAN LANGUAGE sql STABLE AS
    $$ SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'transactions'::regclass) $$;

SELECT create_distributed_table('transactions', 'user_id', colocate_with => 'none');
SELECT create_distributed_table('user_summary', 'user_id', colocate_with => 'transactions');
SELECT create_distributed_table('user_months', 'user_id', colocate_with => 'transactions');
SELECT create_distributed_table('transaction_keys', 'transaction_id', colocate_with => 'none');
