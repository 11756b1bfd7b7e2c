use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use cadence_protocol::{Event, EventList, EventQuery};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::App;
use super::auth::Reader;
use super::error::{ApiPath, ApiQuery, Failure};
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
        let stream = sse(app, who.user_id, id, after);
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

fn sse(app: App, user: Uuid, task: Uuid, after: u64) -> impl Stream<Item = Result<Sse, Infallible>> {
    // The channel is short: a client that does not read holds up only its own feed.
    let (send, receive) = mpsc::channel(64);
    let open = super::OpenStream::new(&app.activity);
    tokio::spawn(async move {
        let _open = open;
        let mut feed = Feed::start(app.store.clone(), user, task, after);
        loop {
            let item = tokio::select! {
                item = feed.next() => item,
                () = app.closing.cancelled() => return,
                () = send.closed() => return,
            };
            let sent = match item {
                Ok(Item::Event { seq, json }) => Sse::default().id(seq.to_string()).data(json.as_str()),
                Ok(Item::Delta { json }) => Sse::default().event("output_delta").data(json.as_str()),
                Ok(Item::Lagged { .. }) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ended");
                    return;
                }
            };
            if send.send(sent).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receive).map(Ok)
}
