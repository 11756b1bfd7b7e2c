use axum::Json;
use axum::extract::State;
use cadence_protocol::{Prune, Pruned, Timestamp};
use uuid::Uuid;

use super::App;
use super::auth::Actor;
use super::error::{ApiJson, Failure};
use crate::store::now;
use crate::upkeep::Upkeep;

/// Longest age that can be asked for, in days: beyond it there is nothing.
const MAX_DAYS: u32 = 36_500;

/// Deletes what is old: tasks that were archived so long ago, with their workspaces and branches, and agents' own lines. A
/// task with work that is found nowhere else is kept, and said. Answers after some of the tasks; `nextCursor` goes on.
#[utoipa::path(post, path = "/api/prune", request_body = Prune, responses((status = 200, body = Pruned)))]
pub async fn prune(
    State(app): State<App>,
    Actor(who): Actor,
    ApiJson(request): ApiJson<Prune>,
) -> Result<Json<Pruned>, Failure> {
    let before = |field: &str, days: u32| -> Result<Timestamp, Failure> {
        if days > MAX_DAYS {
            return Err(Failure::invalid(field, format!("it is at most {MAX_DAYS}")));
        }
        Ok(now() - time::Duration::days(days.into()))
    };
    let upkeep = Upkeep { store: app.store.clone(), workspaces: app.workspaces.clone(), retention: app.retention };
    let after = request.cursor.as_deref().map(place).transpose()?;
    let archived = match request.archived_days {
        Some(days) => Some(before("archivedDays", days)?),
        None => app.retention.archived.map(|age| now() - age),
    };
    let mut pruned = Pruned::default();
    if after.is_none() {
        let logs = match request.logs_days {
            Some(days) => before("logsDays", days)?,
            None => now() - app.retention.logs,
        };
        pruned.logs = upkeep.prune_logs(logs, Some(who.user_id), request.dry_run).await?;
    }
    if let Some(archived) = archived {
        let after = after.map(|(at, id)| (crate::store::from_micros(at), id));
        let (tasks, next) = upkeep.prune_tasks(archived, Some(who.user_id), after, request.dry_run).await?;
        pruned.tasks = tasks;
        pruned.next_cursor = next.map(|(at, id)| cursor(crate::store::micros(at), id));
    }
    if pruned.next_cursor.is_none() && !request.dry_run {
        pruned.bytes = upkeep.give_back().await?;
    }
    Ok(Json(pruned))
}

/// A place in the list of archived tasks, as clients give it back.
fn cursor(at: i64, id: Uuid) -> String {
    format!("{at:x}-{}", id.simple())
}

fn place(cursor: &str) -> Result<(i64, Uuid), Failure> {
    let parsed = cursor
        .split_once('-')
        .and_then(|(at, id)| Some((i64::from_str_radix(at, 16).ok()?, Uuid::try_parse(id).ok()?)));
    parsed.ok_or_else(|| Failure::invalid("cursor", "it is not one that this server gave"))
}
