-- Prepares for a database that is distributed over a cluster.
--
-- Why: what differs there is chosen by what the database says it is. tally migrate
-- --distributed replaces these functions, with those that create partitions.
--
-- Locks: none.

-- Whether transactions and its rollups are distributed over the nodes of a cluster.
CREATE FUNCTION tally_distributed() RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS 'SELECT false';

--bun:split

-- The size of a table with its indexes, on all nodes.
CREATE FUNCTION tally_table_size(relation REGCLASS) RETURNS BIGINT LANGUAGE sql STABLE AS 'SELECT pg_total_relation_size(relation)';

--bun:split

-- Recorded in the same transaction: a process that is killed right after the commit
-- must not leave a migration that is applied but not recorded.
INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0022', 1, now());
