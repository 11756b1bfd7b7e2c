//! Lists of tasks. Each filter is answered from ranges of an index that end with the newest task, read from that end and no
//! further than the page goes: what a page costs does not grow with the tasks that there are.

use cadence_protocol::{Task, TaskStatus};
use sqlx::{QueryBuilder, Row, Sqlite};
use uuid::Uuid;

use super::rows::{self, COLUMNS, Filter};
use super::{Store, StoreError};

/// The index of texts knows parts of this many characters and more.
const INDEXED_PART: usize = 3;

/// How the text of a filter is looked for.
enum Text<'a> {
    None,
    /// As the beginning of an id, in hexadecimal digits.
    Id(String),
    /// In the index of descriptions.
    Indexed(&'a str),
    /// Too short for the index: most descriptions have it.
    Short(&'a str),
}

impl Store {
    /// Tasks, newest first, and the number of the last one where there are more.
    pub async fn tasks(&self, user: Uuid, filter: Filter) -> Result<(Vec<Task>, Option<i64>), StoreError> {
        let Some(text) = filter.text.as_deref() else { return self.list(user, &filter, &Text::None).await };
        // What looks like the beginning of an id is looked up as one first.
        if let Some(hex) = id_prefix(text) {
            let found = self.list(user, &filter, &Text::Id(hex)).await?;
            if !found.0.is_empty() {
                return Ok(found);
            }
        }
        let indexed = text.chars().count() >= INDEXED_PART;
        self.list(user, &filter, &if indexed { Text::Indexed(text) } else { Text::Short(text) }).await
    }

    async fn list(&self, user: Uuid, filter: &Filter, text: &Text<'_>) -> Result<(Vec<Task>, Option<i64>), StoreError> {
        let limit = i64::from(filter.limit) + 1;
        let mut sql = QueryBuilder::<Sqlite>::new(format!("SELECT number, {COLUMNS} FROM ("));
        match text {
            Text::Indexed(text) => search(&mut sql, user, filter, text),
            _ => ranges(&mut sql, user, filter, text),
        }
        sql.push(") AS found CROSS JOIN tasks ON number = found.n ORDER BY number DESC LIMIT ").push_bind(limit);
        let mut found = sql.build().fetch_all(&self.reads).await?;
        let more = found.len() > filter.limit as usize;
        found.truncate(filter.limit as usize);
        let last = found.last().map(|row| row.try_get("number")).transpose()?;
        let tasks = found.iter().map(rows::from_row).collect::<Result<Vec<_>, _>>()?;
        Ok((tasks, last.filter(|_| more)))
    }
}

/// The newest numbers of each range of an index that the filter is made of.
fn ranges(sql: &mut QueryBuilder<Sqlite>, user: Uuid, filter: &Filter, text: &Text<'_>) {
    let archived: &[i64] = filter.archived.map_or(&[0, 1], |archived| if archived { &[1] } else { &[0] });
    // The indexes by repository name a status too, so that a rare one is not looked for among all of its tasks.
    let wanted = |status: &TaskStatus| filter.statuses.is_empty() || filter.statuses.contains(status);
    let statuses: Vec<Option<TaskStatus>> = match (&filter.statuses[..], &filter.repo) {
        ([], None) => vec![None],
        _ => TaskStatus::ALL.iter().copied().filter(wanted).map(Some).collect(),
    };
    let mut first = true;
    for archived in archived {
        for status in &statuses {
            sql.push(if first { "SELECT n FROM (" } else { " UNION ALL SELECT n FROM (" });
            first = false;
            sql.push("SELECT number AS n FROM tasks WHERE user_id = ").push_bind(user);
            sql.push(" AND archived = ").push_bind(*archived);
            if let Some(status) = status {
                sql.push(" AND status = ").push_bind(status.as_str());
            }
            if let Some(repo) = &filter.repo {
                sql.push(repo_column(repo)).push_bind(repo.clone());
            }
            match text {
                // `g` comes after every hexadecimal digit.
                Text::Id(prefix) => {
                    sql.push(" AND hex_id >= ").push_bind(prefix.clone());
                    sql.push(" AND hex_id < ").push_bind(format!("{prefix}g"));
                }
                Text::Short(text) => {
                    let pattern = format!("%{}%", escape_like(text));
                    sql.push(" AND description LIKE ").push_bind(pattern).push(" ESCAPE '\\'");
                }
                Text::Indexed(_) | Text::None => {}
            }
            if let Some(before) = filter.before {
                sql.push(" AND number < ").push_bind(before);
            }
            sql.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(filter.limit) + 1).push(")");
        }
    }
}

/// The newest numbers of tasks whose description has the text, which the index gives newest first.
fn search(sql: &mut QueryBuilder<Sqlite>, user: Uuid, filter: &Filter, text: &str) {
    sql.push("SELECT t.number AS n FROM task_texts CROSS JOIN tasks AS t ON t.number = task_texts.rowid ");
    sql.push("WHERE task_texts MATCH ").push_bind(format!("\"{}\"", text.replace('"', "\"\"")));
    if let Some(before) = filter.before {
        sql.push(" AND task_texts.rowid < ").push_bind(before);
    }
    sql.push(" AND t.user_id = ").push_bind(user);
    if let Some(archived) = filter.archived {
        sql.push(" AND t.archived = ").push_bind(i64::from(archived));
    }
    if !filter.statuses.is_empty() {
        sql.push(" AND t.status IN (");
        let mut list = sql.separated(", ");
        for status in &filter.statuses {
            list.push_bind(status.as_str());
        }
        sql.push(")");
    }
    if let Some(repo) = &filter.repo {
        sql.push(repo_column(repo)).push_bind(repo.clone());
    }
    sql.push(" ORDER BY task_texts.rowid DESC LIMIT ").push_bind(i64::from(filter.limit) + 1);
}

/// Which column a repository is looked for in: names have neither of these characters, paths and URLs have.
fn repo_column(repo: &str) -> &'static str {
    if repo.contains(['/', ':']) { " AND repo_place = " } else { " AND repo_name = " }
}

/// The text as the beginning of an id without hyphens, where it can be one.
fn id_prefix(text: &str) -> Option<String> {
    let hex: String = text.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    ((1..=32).contains(&hex.len()) && hex.chars().all(|c| c.is_ascii_hexdigit())).then_some(hex)
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
