use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use cadence_protocol::{Event, EventList, EventQuery};
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use uuid::Uuid;

use super::auth::Reader;
use super::error::{ApiPath, ApiQuery, Failure};
use super::{App, OpenStream};
use crate::events::feed::{Feed, Item};

/// Stored events in order. With `Accept: text/event-stream` a live stream, whose ids are the `seq`, and which goes on after
/// `Last-Event-ID`.
#[utoipa::path(get, path = "/api/tasks/{id}/events", params(("id" = Uuid, Path), EventQuery),
    responses((status = 200, body = EventList)))]
pub async fn list(
    State(app): State<App>,
    Reader(who): Reader,
    ApiPath(id): ApiPath<Uuid>,
    ApiQuery(query): ApiQuery<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let after = query.after.unwrap_or_default();
    let wants_stream = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/event-stream")));
    if wants_stream {
        app.store.task(who.user_id, id).await?;
        let after = match headers.get("last-event-id") {
            Some(value) => value
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Failure::bad_request("`Last-Event-ID` is not a seq of this task"))?,
            None => after,
        };
        let stream = sse(&app, who.user_id, id, after);
        return Ok(axum::response::Sse::new(stream)
            .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
            .into_response());
    }
    let limit = query.limit.unwrap_or(200);
    if !(1..=1000).contains(&limit) {
        return Err(Failure::invalid("limit", "it must be between 1 and 1000"));
    }
    let events = app.store.events(who.user_id, id, after, limit).await?;
    // Read after the events: a client that sees a larger number reads on.
    let last_seq = app.store.task(who.user_id, id).await?.last_seq;
    Ok(Json(EventList { events, last_seq }).into_response())
}

/// One event with its whole data, also where the list shows it shortened.
#[utoipa::path(get, path = "/api/tasks/{id}/events/{seq}", params(("id" = Uuid, Path), ("seq" = u64, Path)),
    responses((status = 200, body = Event)))]
pub async fn one(
    State(app): State<App>,
    Reader(who): Reader,
    ApiPath((id, seq)): ApiPath<(Uuid, u64)>,
) -> Result<Json<Event>, Failure> {
    Ok(Json(app.store.event(who.user_id, id, seq).await?))
}

fn sse(app: &App, user: Uuid, task: Uuid, after: u64) -> impl Stream<Item = Result<Sse, Infallible>> + use<> {
    let open = OpenStream::new(&app.activity);
    let feed = Feed::start(app.store.clone(), user, task, after);
    // Nothing is asked of the feed before the client has taken what came before.
    let batches = stream::unfold((feed, open), |(mut feed, open)| async {
        match feed.next().await {
            Ok(items) => Some((items, (feed, open))),
            Err(error) => {
                tracing::warn!(%error, "a stream of events ended");
                None
            }
        }
    });
    let event = |item| match item {
        Item::Event(event) => Some(Ok(Sse::default().id(event.seq.to_string()).data(event.json.as_str()))),
        Item::Delta { json } => Some(Ok(Sse::default().event("output_delta").data(json.as_str()))),
        Item::Lagged { .. } => None,
    };
    let events = batches.flat_map(move |items| stream::iter(items.into_iter().filter_map(event)));
    events.take_until(app.closing.clone().cancelled_owned())
}
