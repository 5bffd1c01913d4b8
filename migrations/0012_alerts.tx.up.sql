-- Creates the alerts and their messages, and marks runs that failed only because of files.
--
-- Why: an alert is derived from the ledger, so it begins and ends once whatever crashes. A
-- message is in a table of its own, since River deletes jobs, and takes hours to notice
-- that the worker of one was killed.
--
-- Locks: etl_outcomes and etl_files while their indexes are built, which takes milliseconds
-- for thousands of rows; else only new tables.

CREATE TABLE alerts (
    id           BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause        TEXT        NOT NULL,
    subject      TEXT        NOT NULL,
    what         TEXT        NOT NULL,
    next_step    TEXT        NOT NULL,
    run_id       BIGINT,
    logical_date DATE        NOT NULL,
    source       TEXT,
    path         TEXT,
    code         TEXT,
    opened_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    gone_at      TIMESTAMPTZ,
    closed_at    TIMESTAMPTZ
);

COMMENT ON TABLE alerts IS 'Conditions that need action, each from its beginning to its end.';
COMMENT ON COLUMN alerts.cause IS 'The condition, such as run.failed.';
COMMENT ON COLUMN alerts.subject IS 'The run, source, path or target that the condition holds for.';
COMMENT ON COLUMN alerts.gone_at IS 'Since when the condition has not held. The alert closes after a minute of that.';

-- A path may be longer than an index allows.
CREATE UNIQUE INDEX alerts_open ON alerts (cause, md5(subject)) WHERE closed_at IS NULL;
-- In the order of the list: open ones first, each newest first.
CREATE INDEX alerts_listed ON alerts ((closed_at IS NOT NULL), (-id));
CREATE INDEX alerts_closed ON alerts (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE alert_messages (
    id           TEXT        PRIMARY KEY,
    alert_id     BIGINT      NOT NULL REFERENCES alerts,
    state        TEXT        NOT NULL CHECK (state IN ('open', 'over')),
    channel      TEXT        NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    delivered_at TIMESTAMPTZ,
    failed_at    TIMESTAMPTZ,
    error        TEXT,
    UNIQUE (alert_id, channel, state)
);

COMMENT ON TABLE alert_messages IS 'The messages about alerts: one when it opens and one when it is over, for each channel. A message has the same id at each try.';

CREATE INDEX alert_messages_pending ON alert_messages (created_at) WHERE delivered_at IS NULL AND failed_at IS NULL;

--bun:split

ALTER TABLE etl_outcomes ADD COLUMN files_only BOOLEAN NOT NULL DEFAULT false;

COMMENT ON COLUMN etl_outcomes.files_only IS 'The attempt failed only because of files; each has its entry in etl_files.';

CREATE INDEX etl_outcomes_finished ON etl_outcomes (finished_at) WHERE status IN ('succeeded', 'failed');
CREATE INDEX etl_files_trouble ON etl_files (finished_at) WHERE status = 'failed' OR warnings <> '{}';
CREATE INDEX etl_files_path ON etl_files USING hash (path);

--bun:split

INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0012', 1, now());
