ALTER TABLE tasks ADD COLUMN sandbox TEXT;              -- what was asked for: strict, workspace, off; none: as the server is set
ALTER TABLE tasks ADD COLUMN sandbox_facts TEXT;        -- JSON: what the newest attempt runs under
