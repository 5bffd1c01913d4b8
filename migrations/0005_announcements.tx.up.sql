-- Sends a notification for every commit that changes user_summary.
--
-- Why: the API caches summaries in memory, and must not serve a summary older than the
-- notifications it has received. Notifications arrive in commit order and after their
-- commit is visible, but do not show what another connection sees, in particular one to
-- a replica. So each commit also increments summary_epoch. The row lock on it is held
-- until the commit, so epochs are in commit order. A statement that reads a summary and
-- the epoch together shows which notifications the summary includes.
--
-- A load sends one notification, with the changed users if there are at most 600. A
-- statement trigger notifies of all other changes, at no cost to loads.
--
-- Locks: SHARE ROW EXCLUSIVE on user_summary, briefly.

CREATE TABLE summary_epoch (
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    BIGINT  NOT NULL
) WITH (fillfactor = 10);

COMMENT ON TABLE summary_epoch IS 'One row: counts the commits that changed user_summary, in their order.';

INSERT INTO summary_epoch (epoch) VALUES (1);

CREATE TRIGGER only_tally_writes BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON summary_epoch
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();

--bun:split

-- PostgreSQL sends the notification when the transaction commits. Its payload is the
-- epoch, the file (0: none), and the users, or * for all.
CREATE FUNCTION tally_announce(file_id BIGINT, users INT[]) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    now_at BIGINT;
BEGIN
    PERFORM set_config('tally.announced', 'yes', true);
    UPDATE summary_epoch SET epoch = epoch + 1 RETURNING epoch INTO STRICT now_at;
    PERFORM pg_notify('tally_summaries', format('%s %s %s', now_at, file_id, coalesce(array_to_string(users, ','), '*')));
END $$;

COMMENT ON FUNCTION tally_announce(BIGINT, INT[]) IS 'Announces that the transaction changes the summaries of these users, NULL for all; at most 600 of them, since a notification holds 8000 bytes.';

--bun:split

CREATE FUNCTION tally_announce_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('tally.announced', true) IS DISTINCT FROM 'yes' THEN
        PERFORM tally_announce(0, NULL);
    END IF;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION tally_announce_write() IS 'Announces a change of user_summary, unless its transaction has announced itself, or says in tally.announced that it will.';

CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON user_summary
    FOR EACH STATEMENT EXECUTE FUNCTION tally_announce_write();

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0005', 1, now());
