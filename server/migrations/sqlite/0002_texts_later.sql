-- Descriptions are indexed many at once: one by one, the index costs the commit of a task more than all its rows do.
CREATE TABLE texts_indexed (
    upto        INTEGER NOT NULL                   -- number of the last task whose description is in `task_texts`
) STRICT;
INSERT INTO texts_indexed SELECT coalesce(max(number), 0) FROM tasks;

DROP TRIGGER task_texts_add;
DROP TRIGGER task_texts_remove;
CREATE TRIGGER task_texts_remove AFTER DELETE ON tasks WHEN old.number <= (SELECT upto FROM texts_indexed) BEGIN
    INSERT INTO task_texts (task_texts, rowid, description)
    VALUES ('delete', old.number, substr(old.description, 1, 4000));
    -- The number of the newest task is given again once it is removed.
    UPDATE texts_indexed SET upto = old.number - 1 WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE number > old.number);
END;
