-- What users' work took, by calendar month in UTC, counted when it was reported. It stays when a task is removed.
CREATE TABLE spending (
    user_id       BLOB NOT NULL REFERENCES users (id),
    month         INTEGER NOT NULL,                -- year * 12 + month, January being 0
    tasks         INTEGER NOT NULL DEFAULT 0,      -- that began to be worked on
    worked_ms     INTEGER NOT NULL DEFAULT 0,
    cost_usd      REAL NOT NULL DEFAULT 0,
    input_tokens  INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, month)
) STRICT, WITHOUT ROWID;

-- Until now it was not noted when money was spent: it counts where the attempt began.
INSERT INTO spending (user_id, month, tasks, worked_ms, cost_usd, input_tokens, output_tokens)
SELECT user_id,
    CAST(strftime('%Y', started_at / 1000000, 'unixepoch') AS INTEGER) * 12
        + CAST(strftime('%m', started_at / 1000000, 'unixepoch') AS INTEGER) - 1 AS month,
    sum(number = 1), sum(worked_ms), sum(cost_usd), sum(input_tokens), sum(output_tokens)
FROM attempts WHERE started_at IS NOT NULL GROUP BY user_id, month;
