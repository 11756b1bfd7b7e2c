//! Machines, and what they hold.

use cadence_protocol::{Hello, Lease, Machine, Task};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::changes::to_json;
use super::{Store, StoreError, Tx, from_micros, leases, micros, now, rows};

/// What a machine said of itself.
#[derive(Clone, Debug)]
pub struct NewMachine {
    pub id: Uuid,
    pub name: String,
    pub version: String,
    pub capacity: u32,
    pub labels: Vec<String>,
    pub agents: Vec<String>,
    pub repositories: Vec<String>,
}

impl From<&Hello> for NewMachine {
    fn from(hello: &Hello) -> Self {
        Self {
            id: hello.id,
            name: hello.name.clone(),
            version: hello.version.clone(),
            capacity: hello.capacity,
            labels: hello.labels.clone(),
            agents: hello.agents.clone(),
            repositories: hello.repositories.clone(),
        }
    }
}

/// A machine's row with how many attempts it holds, those that are paused left out.
const MACHINE: &str = "SELECT machines.*, (SELECT count(*) FROM attempts WHERE holder = machines.id \
     AND state IN ('running', 'waiting')) AS running FROM machines";

impl Store {
    /// Stores what a machine says of itself. One that is somebody else's is refused.
    pub async fn machine_here(&self, user: Uuid, machine: NewMachine) -> Result<Machine, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let owner: Option<Uuid> = sqlx::query_scalar("SELECT user_id FROM machines WHERE id = ?")
                    .bind(machine.id)
                    .fetch_optional(&mut *tx.conn)
                    .await?;
                if owner.is_some_and(|owner| owner != user) {
                    return Err(StoreError::Conflict("this machine belongs to another user".into()));
                }
                sqlx::query(
                    "INSERT INTO machines (id, user_id, name, version, capacity, labels, agents, repositories, \
                     created_at, last_seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9) \
                     ON CONFLICT (id) DO UPDATE SET name = ?3, version = ?4, capacity = ?5, labels = ?6, agents = ?7, \
                     repositories = ?8, last_seen_at = ?9",
                )
                .bind(machine.id)
                .bind(user)
                .bind(&machine.name)
                .bind(&machine.version)
                .bind(machine.capacity)
                .bind(to_json(&machine.labels)?)
                .bind(to_json(&machine.agents)?)
                .bind(to_json(&machine.repositories)?)
                .bind(micros(now()))
                .execute(&mut *tx.conn)
                .await?;
                read(tx, machine.id).await
            })
        })
        .await
    }

    /// Notes what a machine keeps a mirror of.
    pub async fn machine_has(&self, machine: Uuid, repositories: Vec<String>) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("UPDATE machines SET repositories = ?, last_seen_at = ? WHERE id = ?")
                    .bind(to_json(&repositories)?)
                    .bind(micros(now()))
                    .bind(machine)
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Notes that a machine was heard of.
    pub async fn machine_seen(&self, machine: Uuid) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("UPDATE machines SET last_seen_at = ? WHERE id = ?")
                    .bind(micros(now()))
                    .bind(machine)
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// A user's machines, by their names. None of them is known to be connected here.
    pub async fn machines(&self, user: Uuid) -> Result<Vec<Machine>, StoreError> {
        let sql = format!("{MACHINE} WHERE user_id = ? ORDER BY name, created_at");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user).fetch_all(&self.reads).await?;
        rows.iter().map(from_row).collect()
    }

    /// Lets a machine take work, or no more of it.
    pub async fn drain(&self, user: Uuid, machine: Uuid, draining: bool) -> Result<Machine, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                owned(tx, user, machine).await?;
                sqlx::query("UPDATE machines SET draining = ? WHERE id = ?")
                    .bind(draining)
                    .bind(machine)
                    .execute(&mut *tx.conn)
                    .await?;
                tx.changes.work = true;
                read(tx, machine).await
            })
        })
        .await
    }

    /// Forgets a machine: what it holds is fenced, and goes on elsewhere from where its task began.
    pub async fn remove_machine(&self, user: Uuid, machine: Uuid) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                owned(tx, user, machine).await?;
                let held: Vec<Uuid> = sqlx::query_scalar(
                    "UPDATE attempts SET lease_until = 0, holder = NULL, lease_epoch = lease_epoch + 1 \
                     WHERE holder = ? RETURNING task_id",
                )
                .bind(machine)
                .fetch_all(&mut *tx.conn)
                .await?;
                sqlx::query("UPDATE tasks SET pinned = 0 WHERE machine_id = ?")
                    .bind(machine)
                    .execute(&mut *tx.conn)
                    .await?;
                sqlx::query("DELETE FROM machines WHERE id = ?").bind(machine).execute(&mut *tx.conn).await?;
                tx.changes.tasks.extend(held);
                tx.changes.work = true;
                Ok(())
            })
        })
        .await
    }

    /// Extends a lease that its holder came back with, where it still holds. Gives the number of the last frame that is
    /// stored.
    pub async fn hold(&self, holder: Uuid, lease: Lease) -> Result<u64, StoreError> {
        let until = leases::expiry(self.steady.micros(), lease.ttl_secs);
        self.write(move |tx| {
            Box::pin(async move {
                let (task, row) = tx.leased(&lease).await?;
                let held =
                    sqlx::query("UPDATE attempts SET lease_until = ? WHERE task_id = ? AND number = ? AND holder = ?")
                        .bind(until)
                        .bind(lease.task_id)
                        .bind(lease.attempt)
                        .bind(holder)
                        .execute(&mut *tx.conn)
                        .await?;
                if held.rows_affected() == 0 {
                    return Err(StoreError::Fenced);
                }
                if task.pending_reason.is_some() {
                    sqlx::query("UPDATE tasks SET pending_reason = NULL WHERE id = ?")
                        .bind(task.id)
                        .execute(&mut *tx.conn)
                        .await?;
                    tx.changes.tasks.insert(task.id);
                }
                Ok(row.last_source_seq)
            })
        })
        .await
    }

    /// The task of a lease that a machine of this user holds.
    pub async fn held_by(&self, user: Uuid, lease: Lease) -> Result<Task, StoreError> {
        let mut conn = self.reads.acquire().await?;
        let held: Option<Uuid> = sqlx::query_scalar(
            "SELECT attempts.task_id FROM attempts JOIN machines ON machines.id = attempts.holder \
             WHERE attempts.task_id = ? AND number = ? AND lease_epoch = ? AND machines.user_id = ? \
                AND state IN ('pending', 'running', 'waiting', 'paused')",
        )
        .bind(lease.task_id)
        .bind(lease.attempt)
        .bind(lease.epoch as i64)
        .bind(user)
        .fetch_optional(&mut *conn)
        .await?;
        match held {
            Some(_) => rows::task(&mut conn, lease.task_id).await?.ok_or(StoreError::NotFound("such task")),
            None => Err(StoreError::Conflict("no machine of yours holds this attempt".into())),
        }
    }

    /// Frees what a machine holds and does not know of: it was given to it, and never reached it.
    pub async fn free_unknown(&self, machine: Uuid, known: Vec<(Uuid, u32)>) -> Result<u64, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let held: Vec<(Uuid, u32)> = sqlx::query_as("SELECT task_id, number FROM attempts WHERE holder = ?")
                    .bind(machine)
                    .fetch_all(&mut *tx.conn)
                    .await?;
                let mut freed = 0;
                for (task, attempt) in held.into_iter().filter(|held| !known.contains(held)) {
                    sqlx::query("UPDATE attempts SET lease_until = 0, holder = NULL WHERE task_id = ? AND number = ?")
                        .bind(task)
                        .bind(attempt)
                        .execute(&mut *tx.conn)
                        .await?;
                    tx.changes.work = true;
                    tx.changes.tasks.insert(task);
                    freed += 1;
                }
                Ok(freed)
            })
        })
        .await
    }
}

async fn owned(tx: &mut Tx<'_>, user: Uuid, machine: Uuid) -> Result<(), StoreError> {
    let owner: Option<Uuid> = sqlx::query_scalar("SELECT user_id FROM machines WHERE id = ?")
        .bind(machine)
        .fetch_optional(&mut *tx.conn)
        .await?;
    if owner == Some(user) { Ok(()) } else { Err(StoreError::NotFound("such machine")) }
}

async fn read(tx: &mut Tx<'_>, machine: Uuid) -> Result<Machine, StoreError> {
    let sql = format!("{MACHINE} WHERE id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(machine).fetch_optional(&mut *tx.conn).await?;
    from_row(&row.ok_or(StoreError::NotFound("such machine"))?)
}

fn from_row(row: &SqliteRow) -> Result<Machine, StoreError> {
    let list = |column: &str| -> Result<Vec<String>, StoreError> {
        let text: String = row.try_get(column)?;
        serde_json::from_str(&text).map_err(|e| StoreError::Corrupt(e.to_string()))
    };
    Ok(Machine {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        connected: false,
        draining: row.try_get("draining")?,
        capacity: row.try_get("capacity")?,
        running: row.try_get("running")?,
        labels: list("labels")?,
        agents: list("agents")?,
        repositories: list("repositories")?,
        created_at: from_micros(row.try_get("created_at")?),
        last_seen_at: from_micros(row.try_get("last_seen_at")?),
    })
}
