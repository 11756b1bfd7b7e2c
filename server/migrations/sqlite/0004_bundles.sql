-- Commits that clients on other machines sent. The bundles themselves are files of the data directory.
CREATE TABLE bundles (
    id              BLOB PRIMARY KEY NOT NULL,
    user_id         BLOB NOT NULL REFERENCES users (id),
    size            INTEGER NOT NULL,                  -- bytes
    heads           TEXT NOT NULL,                     -- JSON array of references
    prerequisites   TEXT NOT NULL,                     -- JSON array of commits
    root            TEXT,                              -- oldest commit of a whole history
    created_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX bundles_by_user ON bundles (user_id, created_at);

ALTER TABLE tasks ADD COLUMN bundle_id BLOB REFERENCES bundles (id);
CREATE INDEX tasks_by_bundle ON tasks (bundle_id) WHERE bundle_id IS NOT NULL;
