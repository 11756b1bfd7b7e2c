//! Bundles that were sent: rows about files.

use cadence_protocol::{Bundle, BundleRef, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::changes::to_json;
use super::{Store, StoreError, micros, now};

/// A bundle and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRow {
    pub user_id: Uuid,
    pub bundle: Bundle,
    /// The oldest commit, where it has the whole history.
    pub root: Option<String>,
}

/// What a user's bundles of one repository without URL have in common. Nobody else's have it, so nobody is given the
/// commits of others.
pub(super) fn repository(user: Uuid, root: Option<&str>) -> String {
    format!("{}-{}", user.simple(), root.unwrap_or("unknown"))
}

impl Store {
    /// Notes a bundle whose file is in its place. Refused where the user's bundles that no task uses have more than
    /// `most_unused` bytes together.
    pub async fn add_bundle(&self, row: BundleRow, most_unused: u64) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let bundle = &row.bundle;
                let unused: i64 = sqlx::query_scalar(
                    "SELECT coalesce(sum(size), 0) FROM bundles WHERE user_id = ? \
                     AND NOT EXISTS (SELECT 1 FROM tasks WHERE bundle_id = bundles.id)",
                )
                .bind(row.user_id)
                .fetch_one(&mut *tx.conn)
                .await?;
                if unused.unsigned_abs().saturating_add(bundle.size) > most_unused {
                    return Err(StoreError::Conflict(
                        "too much was sent that no task uses; it is deleted after a day or two".into(),
                    ));
                }
                sqlx::query(
                    "INSERT INTO bundles (id, user_id, size, heads, prerequisites, root, created_at) \
                     VALUES (?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(bundle.id)
                .bind(row.user_id)
                .bind(i64::try_from(bundle.size).unwrap_or(i64::MAX))
                .bind(to_json(&bundle.heads)?)
                .bind(to_json(&bundle.prerequisites)?)
                .bind(&row.root)
                .bind(micros(now()))
                .execute(&mut *tx.conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// A bundle, whoever's it is.
    pub async fn bundle(&self, id: Uuid) -> Result<Option<BundleRow>, StoreError> {
        let row = sqlx::query("SELECT id, user_id, size, heads, prerequisites, root FROM bundles WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.reads)
            .await?;
        row.as_ref().map(from_row).transpose()
    }

    /// Forgets bundles that came before `cutoff` and that no task uses. Gives their ids: their files can go.
    pub async fn prune_bundles(&self, cutoff: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let ids = sqlx::query_scalar(
                    "DELETE FROM bundles WHERE created_at < ? \
                     AND NOT EXISTS (SELECT 1 FROM tasks WHERE bundle_id = bundles.id) RETURNING id",
                )
                .bind(micros(cutoff))
                .fetch_all(&mut *tx.conn)
                .await?;
                Ok(ids)
            })
        })
        .await
    }
}

fn from_row(row: &SqliteRow) -> Result<BundleRow, StoreError> {
    let json = |error: serde_json::Error| StoreError::Corrupt(error.to_string());
    let heads: Vec<BundleRef> = serde_json::from_str(row.try_get("heads")?).map_err(json)?;
    let prerequisites = serde_json::from_str(row.try_get("prerequisites")?).map_err(json)?;
    let size = row.try_get::<i64, _>("size")?.unsigned_abs();
    Ok(BundleRow {
        user_id: row.try_get("user_id")?,
        bundle: Bundle { id: row.try_get("id")?, size, heads, prerequisites },
        root: row.try_get("root")?,
    })
}
