//! Users and their tokens. Only the hash of a token is kept.

use cadence_protocol::{Timestamp, TokenInfo};
use sha2::{Digest, Sha256};
use sqlx::Row;
use uuid::Uuid;

use super::changes::to_json;
use super::{Store, StoreError, from_micros, micros, now};

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

    /// Whether a user may see to everybody's work.
    pub async fn is_admin(&self, user: Uuid) -> Result<bool, StoreError> {
        let role: Option<String> =
            sqlx::query_scalar("SELECT role FROM users WHERE id = ?").bind(user).fetch_optional(&self.reads).await?;
        Ok(role.as_deref() == Some("admin"))
    }

    /// Stores a token, of which only the hash is given.
    pub async fn create_token(
        &self,
        user: Uuid,
        token_hash: Vec<u8>,
        name: String,
        scopes: Vec<String>,
        expires_at: Option<Timestamp>,
    ) -> Result<TokenInfo, StoreError> {
        let info = TokenInfo { id: Uuid::new_v4(), name, scopes, created_at: now(), expires_at };
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO tokens (id, user_id, name, hash, scopes, created_at, expires_at) \
                     VALUES (?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(info.id)
                .bind(user)
                .bind(&info.name)
                .bind(token_hash)
                .bind(to_json(&info.scopes)?)
                .bind(micros(info.created_at))
                .bind(info.expires_at.map(micros))
                .execute(&mut *tx.conn)
                .await?;
                Ok(info)
            })
        })
        .await
    }

    /// A user's tokens that are not revoked, the newest first.
    pub async fn tokens(&self, user: Uuid) -> Result<Vec<TokenInfo>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, scopes, created_at, expires_at FROM tokens \
             WHERE user_id = ? AND revoked_at IS NULL ORDER BY created_at DESC",
        )
        .bind(user)
        .fetch_all(&self.reads)
        .await?;
        rows.iter()
            .map(|row| {
                let scopes: String = row.try_get("scopes")?;
                Ok(TokenInfo {
                    id: row.try_get("id")?,
                    name: row.try_get("name")?,
                    scopes: serde_json::from_str(&scopes).map_err(|e| StoreError::Corrupt(e.to_string()))?,
                    created_at: from_micros(row.try_get("created_at")?),
                    expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(from_micros),
                })
            })
            .collect()
    }

    /// Revokes a token: it is let in no longer.
    pub async fn revoke_token(&self, user: Uuid, id: Uuid) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let revoked =
                    sqlx::query("UPDATE tokens SET revoked_at = ? WHERE id = ? AND user_id = ? AND revoked_at IS NULL")
                        .bind(micros(now()))
                        .bind(id)
                        .bind(user)
                        .execute(&mut *tx.conn)
                        .await?;
                if revoked.rows_affected() == 0 { Err(StoreError::NotFound("such token")) } else { Ok(()) }
            })
        })
        .await
    }
}
