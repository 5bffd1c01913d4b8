-- Every commit that changes user_summary says so, to whoever listens.
--
-- Why: the API keeps summaries in memory, and must never answer from before a commit
-- that it has heard of. A notification is delivered in the order of commits and only
-- after its commit can be seen, but says nothing about what another connection has
-- seen yet, a replica's above all. So each commit also counts: summary_epoch moves
-- in the commit that moves the summaries, under a row lock that is held until then,
-- so that epochs are in the order of commits. Whoever reads a summary and the epoch
-- in one statement knows which announcements the summary already has in it.
--
-- A load announces once, with the users that it changed where they are few. Any other
-- change is announced by a statement trigger, which costs loads nothing.
--
-- Locks: user_summary for an instant, against writers.

CREATE TABLE summary_epoch (
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    BIGINT  NOT NULL
) WITH (fillfactor = 10);

COMMENT ON TABLE summary_epoch IS 'One row: counts the commits that changed user_summary, in their order.';

INSERT INTO summary_epoch (epoch) VALUES (1);

CREATE TRIGGER only_tally_writes BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON summary_epoch
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refuse_write();

--bun:split

-- The notification is sent when the transaction commits, and not at all if it does
-- not. Its text: the epoch, the file (0: none), and the users, or * for all.
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
