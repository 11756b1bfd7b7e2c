//! Users and their tokens. Only the hash of a token is kept.

use sha2::{Digest, Sha256};
use sqlx::Row;
use uuid::Uuid;

use super::{Store, StoreError, micros, now};

/// Who asks, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub user_id: Uuid,
    pub name: String,
    pub scopes: Vec<String>,
}

impl Principal {
    /// Whether a scope (`tasks:read`, `tasks:write`) was given; `*` gives all.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|given| given == "*" || given == scope)
    }
}

/// SHA-256 of a token: what is stored and compared. Tokens are random in 256 bits, so a slow hash would add nothing.
pub fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

impl Store {
    /// The user of that name, made where there is none.
    pub async fn ensure_user(&self, name: &str, role: &'static str) -> Result<Uuid, StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO users (id, name, role, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
                )
                .bind(Uuid::new_v4())
                .bind(&name)
                .bind(role)
                .bind(micros(now()))
                .execute(&mut *tx.conn)
                .await?;
                Ok(sqlx::query_scalar("SELECT id FROM users WHERE name = ?")
                    .bind(name)
                    .fetch_one(&mut *tx.conn)
                    .await?)
            })
        })
        .await
    }

    /// Whose token it is, unless it is revoked or has expired.
    pub async fn principal(&self, token_hash: &[u8]) -> Result<Option<Principal>, StoreError> {
        let row = sqlx::query(
            "SELECT users.id AS user_id, users.name AS name, tokens.scopes AS scopes FROM tokens \
             JOIN users ON users.id = tokens.user_id \
             WHERE tokens.hash = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
        )
        .bind(token_hash)
        .bind(micros(now()))
        .fetch_optional(&self.reads)
        .await?;
        row.map(|row| {
            let scopes: String = row.try_get("scopes")?;
            Ok(Principal {
                user_id: row.try_get("user_id")?,
                name: row.try_get("name")?,
                scopes: serde_json::from_str(&scopes).map_err(|e| StoreError::Corrupt(e.to_string()))?,
            })
        })
        .transpose()
    }
}
