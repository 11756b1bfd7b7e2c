//! What SQLite alone does with the same rows.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use uuid::Uuid;

async fn open(directory: &Path) -> SqliteConnection {
    let mut connection = SqliteConnectOptions::new()
        .filename(directory.join("floor.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "2000")
        .disable_statement_logging()
        .connect()
        .await
        .unwrap();
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS events (task_id BLOB NOT NULL, seq INTEGER NOT NULL, user_id BLOB NOT NULL, \
         attempt INTEGER NOT NULL, at INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (task_id, seq)) \
         STRICT, WITHOUT ROWID",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection
}

/// Inserts rows in transactions of `group`, and gives the time that it took.
pub async fn inserts(directory: &Path, rows: u64, group: u64, data: &str) -> Duration {
    let mut connection = open(directory).await;
    let (task, user) = (Uuid::new_v4(), Uuid::new_v4());
    let started = Instant::now();
    let mut seq = 0;
    while seq < rows {
        let mut transaction = connection.begin().await.unwrap();
        for _ in 0..group.min(rows - seq) {
            seq += 1;
            sqlx::query("INSERT INTO events (task_id, seq, user_id, attempt, at, data) VALUES (?, ?, ?, 1, ?, ?)")
                .bind(task)
                .bind(i64::try_from(seq).unwrap())
                .bind(user)
                .bind(1_700_000_000_000_000_i64)
                .bind(data)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
    }
    let took = started.elapsed();
    connection.close().await.unwrap();
    took
}
