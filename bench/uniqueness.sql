-- name: key-table_table
CREATE TABLE u_key_table {{columns}} PARTITION BY RANGE (transaction_date);
CREATE TABLE u_key_table_keys (transaction_id TEXT COLLATE "C" PRIMARY KEY);

-- name: key-table_load
-- Set-based: inserts the new ids, then the first row of each.
WITH new AS (
    INSERT INTO u_key_table_keys SELECT DISTINCT transaction_id COLLATE "C" FROM batch ORDER BY 1
    ON CONFLICT DO NOTHING RETURNING transaction_id
)
INSERT INTO u_key_table
SELECT id, transaction_id, user_id, amount, transaction_date FROM (
    SELECT DISTINCT ON (b.transaction_id) b.* FROM batch b JOIN new n ON n.transaction_id = b.transaction_id COLLATE "C"
    ORDER BY b.transaction_id, b.id
) first;

-- name: trigger_table
CREATE TABLE u_trigger {{columns}} PARTITION BY RANGE (transaction_date);
CREATE TABLE u_trigger_keys (transaction_id TEXT COLLATE "C" PRIMARY KEY);
CREATE FUNCTION u_trigger_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO u_trigger_keys VALUES (NEW.transaction_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN RETURN NULL; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER once BEFORE INSERT ON u_trigger FOR EACH ROW EXECUTE FUNCTION u_trigger_once();

-- name: trigger_load
INSERT INTO u_trigger SELECT * FROM batch;

-- name: per-partition_table
CREATE TABLE u_per_partition {{columns}} PARTITION BY RANGE (transaction_date);

-- name: per-partition_indexes
DO $$ DECLARE t text; BEGIN
    FOR t IN SELECT relid::text FROM pg_partition_tree('u_per_partition') WHERE isleaf LOOP
        EXECUTE format('CREATE UNIQUE INDEX ON %s (transaction_id)', t);
    END LOOP;
END $$;

-- name: per-partition_load
INSERT INTO u_per_partition SELECT * FROM batch ON CONFLICT DO NOTHING;

-- name: with-date_table
CREATE TABLE u_with_date {{columns}} PARTITION BY RANGE (transaction_date);
ALTER TABLE u_with_date ADD UNIQUE (transaction_id, transaction_date);

-- name: with-date_load
INSERT INTO u_with_date SELECT * FROM batch ON CONFLICT DO NOTHING;

-- name: hash_table
CREATE TABLE u_hash (id BIGINT, transaction_id VARCHAR(50) PRIMARY KEY, user_id INT NOT NULL, amount FLOAT NOT NULL,
    transaction_date DATE NOT NULL) PARTITION BY HASH (transaction_id);
CREATE INDEX ON u_hash (user_id, transaction_date, id);
DO $$ BEGIN
    FOR i IN 0..11 LOOP
        EXECUTE format('CREATE TABLE u_hash_%s PARTITION OF u_hash FOR VALUES WITH (MODULUS 12, REMAINDER %s)', i, i);
    END LOOP;
END $$;

-- name: hash_load
INSERT INTO u_hash SELECT * FROM batch ON CONFLICT DO NOTHING;

-- name: flat_table
CREATE TABLE u_flat {{columns}};
ALTER TABLE u_flat ADD UNIQUE (transaction_id);

-- name: flat_load
INSERT INTO u_flat SELECT * FROM batch ON CONFLICT DO NOTHING;

-- name: columns
(id BIGINT, transaction_id VARCHAR(50) NOT NULL, user_id INT NOT NULL, amount FLOAT NOT NULL,
    transaction_date DATE NOT NULL, PRIMARY KEY (user_id, transaction_date, id))

-- name: months
DO $$ DECLARE m timestamp; BEGIN
    FOR m IN SELECT generate_series(timestamp '2023-01-01', '2023-12-01', '1 month') LOOP
        EXECUTE format('CREATE TABLE {{table}}_%s PARTITION OF {{table}} FOR VALUES FROM (%L) TO (%L)',
            to_char(m, 'MM'), m::date, (m + interval '1 month')::date);
    END LOOP;
END $$;

-- name: batch
-- Random ids, and dates spread over the year in every batch. Every hundredth row repeats
-- the id of an earlier row. The distance is chosen so that its date is in another month.
CREATE UNLOGGED TABLE batch AS
SELECT id, left(md5((CASE WHEN id % 100 = 0 AND id > {{apart}} THEN id - {{apart}} ELSE id END)::text), 16) AS transaction_id,
       user_id, amount, DATE '2023-01-01' + (id * 103 % 365)::int AS transaction_date
FROM ({{rows}}) r;
ANALYZE batch;
