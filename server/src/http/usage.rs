use axum::Json;
use axum::extract::State;
use cadence_protocol::{UsageQuery, UsageReport};

use super::App;
use super::auth::Reader;
use super::error::{ApiQuery, Failure};

/// Most months that can be asked for.
const MAX_MONTHS: u32 = 120;

/// Tasks, minutes, tokens and cost by user and calendar month in UTC, against the limit of a month. One's own; for an
/// administrator everybody's.
#[utoipa::path(get, path = "/api/usage", params(UsageQuery), responses((status = 200, body = UsageReport)))]
pub async fn report(
    State(app): State<App>,
    Reader(who): Reader,
    ApiQuery(query): ApiQuery<UsageQuery>,
) -> Result<Json<UsageReport>, Failure> {
    let months = query.months.unwrap_or(12);
    if !(1..=MAX_MONTHS).contains(&months) {
        return Err(Failure::invalid("months", format!("it must be between 1 and {MAX_MONTHS}")));
    }
    Ok(Json(app.store.usage(&who, months).await?))
}
