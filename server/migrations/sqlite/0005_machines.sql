-- Machines that run agents for this server: daemons that dialled in.
CREATE TABLE machines (
    id           BLOB PRIMARY KEY NOT NULL,        -- also the holder of its leases
    user_id      BLOB NOT NULL REFERENCES users (id),
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    capacity     INTEGER NOT NULL,
    labels       TEXT NOT NULL,                    -- JSON array
    agents       TEXT NOT NULL,                    -- JSON array
    repositories TEXT NOT NULL,                    -- JSON array of URLs
    draining     INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT;

ALTER TABLE tasks ADD COLUMN wanted_executor TEXT;           -- where it was asked to run; the server chooses where it is null
ALTER TABLE tasks ADD COLUMN machine_id BLOB;                -- the machine that ran it last; null: the server's own
ALTER TABLE tasks ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0; -- its workspace is there, so it goes on there
ALTER TABLE tasks ADD COLUMN pending_reason TEXT;            -- why nobody can take it now

-- Whatever has begun has its workspace on the server's own machine.
UPDATE tasks SET pinned = 1 WHERE EXISTS (SELECT 1 FROM attempts WHERE task_id = tasks.id AND lease_epoch > 0);

-- What waits for its turn, user by user, each in the order in which it came (the rowid).
CREATE INDEX attempts_waiting ON attempts (user_id) WHERE state = 'pending';
CREATE INDEX attempts_held ON attempts (holder) WHERE holder IS NOT NULL;
