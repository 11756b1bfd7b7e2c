//! Lists of tasks. Each filter is answered from ranges of an index that end with the newest task, read from that end and no
//! further than the page goes: what a page costs does not grow with the tasks that there are.

use cadence_agent::workspace::{Origin, repo_name};
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
    /// Between the first and the last id that begin so.
    Id([u8; 16], [u8; 16]),
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
        if let Some((first, last)) = id_range(text) {
            let found = self.list(user, &filter, &Text::Id(first, last)).await?;
            if !found.0.is_empty() {
                return Ok(found);
            }
        }
        if text.chars().count() < INDEXED_PART {
            return self.list(user, &filter, &Text::Short(text)).await;
        }
        self.index_texts().await?;
        self.list(user, &filter, &Text::Indexed(text)).await
    }

    async fn list(&self, user: Uuid, filter: &Filter, text: &Text<'_>) -> Result<(Vec<Task>, Option<i64>), StoreError> {
        let limit = i64::from(filter.limit) + 1;
        let mut sql = QueryBuilder::<Sqlite>::new(format!("SELECT number, {COLUMNS} FROM ("));
        match text {
            Text::Indexed(text) => search(&mut sql, user, filter, text),
            Text::Id(first, last) => ids(&mut sql, user, filter, first, last),
            Text::Short(_) | Text::None => ranges(&mut sql, user, filter, text),
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
    let wanted = |status: &TaskStatus| filter.statuses.is_empty() || filter.statuses.contains(status);
    let statuses: Vec<_> = TaskStatus::ALL.iter().copied().filter(wanted).collect();
    let mut first = true;
    for archived in archived {
        for status in &statuses {
            sql.push(if first { "SELECT n FROM (" } else { " UNION ALL SELECT n FROM (" });
            first = false;
            sql.push("SELECT number AS n FROM tasks WHERE user_id = ").push_bind(user);
            sql.push(" AND archived = ").push_bind(*archived);
            sql.push(" AND status = ").push_bind(status.as_str());
            of_repository(sql, filter);
            if let Text::Short(text) = text {
                let pattern = format!("%{}%", escape_like(text));
                sql.push(" AND description LIKE ").push_bind(pattern).push(" ESCAPE '\\'");
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
    sql.push(
        "SELECT number AS n FROM task_texts CROSS JOIN tasks ON number = task_texts.rowid WHERE task_texts MATCH ",
    );
    sql.push_bind(format!("\"{}\"", text.replace('"', "\"\"")));
    if let Some(before) = filter.before {
        sql.push(" AND task_texts.rowid < ").push_bind(before);
    }
    rest(sql, user, filter);
    sql.push(" ORDER BY task_texts.rowid DESC LIMIT ").push_bind(i64::from(filter.limit) + 1);
}

/// The newest numbers of tasks whose ids lie in a range: few, unless it is that of a single digit.
fn ids(sql: &mut QueryBuilder<Sqlite>, user: Uuid, filter: &Filter, first: &[u8; 16], last: &[u8; 16]) {
    sql.push("SELECT number AS n FROM tasks WHERE id BETWEEN ").push_bind(first.to_vec());
    sql.push(" AND ").push_bind(last.to_vec());
    if let Some(before) = filter.before {
        // Not taken for a range to go through.
        sql.push(" AND +number < ").push_bind(before);
    }
    rest(sql, user, filter);
    sql.push(" ORDER BY +number DESC LIMIT ").push_bind(i64::from(filter.limit) + 1);
}

/// What is looked at in each task that was found.
fn rest(sql: &mut QueryBuilder<Sqlite>, user: Uuid, filter: &Filter) {
    sql.push(" AND +user_id = ").push_bind(user);
    if let Some(archived) = filter.archived {
        sql.push(" AND +archived = ").push_bind(i64::from(archived));
    }
    if !filter.statuses.is_empty() {
        sql.push(" AND +status IN (");
        let mut list = sql.separated(", ");
        for status in &filter.statuses {
            list.push_bind(status.as_str());
        }
        sql.push(")");
    }
    of_repository(sql, filter);
}

/// A repository by its name; by its path or URL, which have one of these characters, it is one of those with that name.
fn of_repository(sql: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    let Some(repo) = &filter.repo else { return };
    if !repo.contains(['/', ':']) {
        sql.push(" AND repo_name = ").push_bind(repo.clone());
        return;
    }
    let name = Origin::parse(repo).map(|origin| repo_name(&origin)).unwrap_or_default();
    sql.push(" AND repo_name = ").push_bind(name);
    sql.push(" AND coalesce(repo_path, repo_url) = ").push_bind(repo.clone());
}

/// The first and the last id that begin with the text, hyphens left out, where ids can begin so.
fn id_range(text: &str) -> Option<([u8; 16], [u8; 16])> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    if !(1..=32).contains(&hex.len()) || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let filled = |digit: &str| Uuid::try_parse(&format!("{hex}{}", digit.repeat(32 - hex.len()))).ok();
    Some((*filled("0")?.as_bytes(), *filled("f")?.as_bytes()))
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_of_ids() {
        let hex = |bytes: [u8; 16]| Uuid::from_bytes(bytes).to_string();
        let range = id_range("AB-c").map(|(first, last)| (hex(first), hex(last)));
        let expected = ("abc00000-0000-0000-0000-000000000000", "abcfffff-ffff-ffff-ffff-ffffffffffff");
        assert_eq!(range, Some((expected.0.into(), expected.1.into())));
        assert_eq!(id_range("x"), None);
        assert_eq!(id_range("-"), None);
        assert_eq!(id_range(&"a".repeat(33)), None);
    }
}
