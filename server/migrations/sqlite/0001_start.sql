-- Ids are 16 byte UUIDs, times are microseconds since 1970 in UTC.

CREATE TABLE users (
    id          BLOB PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL UNIQUE,
    role        TEXT NOT NULL DEFAULT 'member',
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    id          BLOB PRIMARY KEY NOT NULL,
    user_id     BLOB NOT NULL REFERENCES users (id),
    name        TEXT NOT NULL,
    hash        BLOB NOT NULL UNIQUE,              -- SHA-256 of the token
    scopes      TEXT NOT NULL,                     -- JSON array
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT;

CREATE TABLE tasks (
    number          INTEGER PRIMARY KEY,           -- in the order in which they came, whatever the clock said
    id              BLOB NOT NULL UNIQUE,
    user_id         BLOB NOT NULL REFERENCES users (id),
    description     TEXT NOT NULL,
    repo_url        TEXT,
    repo_name       TEXT NOT NULL,
    repo_path       TEXT,
    branch          TEXT NOT NULL,
    base_branch     TEXT NOT NULL,
    base_commit     TEXT,
    status          TEXT NOT NULL,                 -- derived from the newest attempt and the pull request
    progress        INTEGER NOT NULL DEFAULT 0,
    model           TEXT NOT NULL,
    agent           TEXT NOT NULL,
    source          TEXT NOT NULL,
    executor        TEXT NOT NULL,
    labels          TEXT NOT NULL,                 -- JSON array
    permission_mode TEXT NOT NULL,
    budget_usd      REAL,
    max_turns       INTEGER,
    timeout_secs    INTEGER,
    environment     TEXT NOT NULL,                 -- JSON object; may hold secrets, never leaves the server
    output          TEXT,
    error           TEXT,
    end_reason      TEXT,
    files_changed   INTEGER,
    lines_added     INTEGER,
    lines_removed   INTEGER,
    cost_usd        REAL,
    input_tokens    INTEGER,
    output_tokens   INTEGER,
    pr_url          TEXT,
    pr_number       INTEGER,
    pr_state        TEXT,
    attempt         INTEGER NOT NULL,
    resume_at       TEXT,
    waiting_for     TEXT,
    last_seq        INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER,
    archived_at     INTEGER,
    archived        INTEGER NOT NULL GENERATED ALWAYS AS (archived_at IS NOT NULL) VIRTUAL
) STRICT;
-- Both end with the number: each range of equal values is a list of tasks, newest last. Few, for each is written with each task.
CREATE INDEX tasks_by_status ON tasks (user_id, archived, status);
CREATE INDEX tasks_by_repo ON tasks (user_id, archived, repo_name, status);

-- Finds any part of a description that has three characters or more. The texts themselves are in `tasks`.
CREATE VIRTUAL TABLE task_texts USING fts5 (description, content = '', columnsize = 0, tokenize = 'trigram');
CREATE TRIGGER task_texts_add AFTER INSERT ON tasks BEGIN
    INSERT INTO task_texts (rowid, description) VALUES (new.number, substr(new.description, 1, 4000));
END;
CREATE TRIGGER task_texts_remove AFTER DELETE ON tasks BEGIN
    INSERT INTO task_texts (task_texts, rowid, description)
    VALUES ('delete', old.number, substr(old.description, 1, 4000));
END;

CREATE TABLE attempts (
    task_id         BLOB NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number          INTEGER NOT NULL,
    user_id         BLOB NOT NULL REFERENCES users (id),
    state           TEXT NOT NULL,                 -- pending, running, waiting, paused, succeeded, failed, cancelled
    prompt          TEXT NOT NULL,
    from_session    TEXT,                          -- session of the attempt before, to go on with
    launched        TEXT,                          -- session that an agent was started with, until it is known to be
    session_id      TEXT,                          -- its own, once the agent has taken the prompt
    wanted          INTEGER NOT NULL DEFAULT 0,    -- somebody wants a paused attempt to go on
    holder          BLOB,                          -- the process that has the lease
    lease_epoch     INTEGER NOT NULL DEFAULT 0,    -- fencing number
    lease_until     INTEGER NOT NULL DEFAULT 0,
    last_source_seq INTEGER NOT NULL DEFAULT 0,
    worked_ms       INTEGER NOT NULL DEFAULT 0,    -- time used of the task's timeout, pauses left out
    cost_usd        REAL NOT NULL DEFAULT 0,
    input_tokens    INTEGER NOT NULL DEFAULT 0,
    output_tokens   INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    ended_at        INTEGER,
    end_reason      TEXT,
    PRIMARY KEY (task_id, number)
) STRICT;                                          -- the rowid is the order in which they came
CREATE INDEX attempts_live ON attempts (state, lease_until, created_at)
    WHERE state IN ('pending', 'running', 'waiting', 'paused');

-- Of tasks, or of removed ones.
CREATE TABLE events (
    task_id     BLOB NOT NULL,
    seq         INTEGER NOT NULL,
    user_id     BLOB NOT NULL REFERENCES users (id),
    attempt     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    data        TEXT NOT NULL,                     -- JSON of the event's data
    PRIMARY KEY (task_id, seq)
) STRICT, WITHOUT ROWID;

-- Data over 64 KiB; the event itself carries a shortened form.
CREATE TABLE event_data (
    task_id     BLOB NOT NULL,
    seq         INTEGER NOT NULL,
    user_id     BLOB NOT NULL REFERENCES users (id),
    data        TEXT NOT NULL,
    PRIMARY KEY (task_id, seq),
    FOREIGN KEY (task_id, seq) REFERENCES events (task_id, seq) ON DELETE CASCADE
) STRICT;

-- Orders for running attempts, delivered until they are acknowledged.
CREATE TABLE commands (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB NOT NULL UNIQUE,
    task_id     BLOB NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    user_id     BLOB NOT NULL REFERENCES users (id),
    body        TEXT NOT NULL,                     -- JSON
    created_at  INTEGER NOT NULL,
    acked_at    INTEGER
) STRICT;
CREATE INDEX commands_by_task ON commands (task_id, attempt, number);

CREATE TABLE approvals (
    task_id     BLOB NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    id          TEXT NOT NULL,
    user_id     BLOB NOT NULL REFERENCES users (id),
    attempt     INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    tool        TEXT NOT NULL,
    input       TEXT NOT NULL,                     -- JSON
    suggestions TEXT,                              -- JSON
    created_at  INTEGER NOT NULL,
    decision    TEXT,
    decided_by  TEXT,
    decided_at  INTEGER,
    PRIMARY KEY (task_id, id)
) STRICT;
CREATE INDEX approvals_by_id ON approvals (user_id, id);
CREATE INDEX approvals_open ON approvals (user_id, created_at) WHERE decision IS NULL;

CREATE TABLE idempotency (
    user_id     BLOB NOT NULL REFERENCES users (id),
    key         TEXT NOT NULL,
    request     BLOB NOT NULL,                     -- SHA-256 of the request
    task_id     BLOB NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT;
CREATE INDEX idempotency_by_task ON idempotency (task_id);

-- Tasks that were removed, and whose events are on their way out.
CREATE TABLE removed (
    task_id     BLOB PRIMARY KEY NOT NULL
) STRICT;

-- When what is done now and then was last done.
CREATE TABLE upkeep (
    name        TEXT PRIMARY KEY NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
