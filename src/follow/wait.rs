//! Waiting for tasks without showing them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cadence_protocol::{EventData, Task, TaskStatus};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::LOOK;
use super::view::storage;
use crate::client::{Client, Item, PATIENCE, Rest, Stream};
use crate::error::{CommandError, Exit};
use crate::render::Line;

/// How long one look at a task may take; a server that is gone does not say so.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What is told while tasks are waited for.
#[derive(Debug)]
pub enum Told<'a> {
    /// It waits for something.
    Waiting(&'a Task),
    /// The server is away; it is waited for.
    Lost {
        reason: &'a str,
    },
    Back,
    /// The server cannot store what happens, or can again.
    Storage(Vec<Line>),
}

/// Waits for tasks without showing them; ends at `deadline`. A server that is away is waited for until then, or for as long
/// as a stream has patience.
pub async fn wait(
    client: &Client,
    tasks: Vec<Task>,
    any: bool,
    deadline: Option<Instant>,
    mut tell: impl FnMut(Told<'_>),
) -> Result<Vec<Task>, CommandError> {
    let rest = client.rest()?;
    let mut order: Vec<Uuid> = Vec::new();
    for task in &tasks {
        if !order.contains(&task.id) {
            order.push(task.id);
        }
    }
    let patience =
        deadline.map_or(PATIENCE, |deadline| PATIENCE.max(deadline.saturating_duration_since(Instant::now())));
    let mut stream = Stream::follow(client.clone(), tasks.iter().map(|task| (task.id, task.last_seq)), patience);
    let mut lost = false;
    let mut known: BTreeMap<Uuid, Task> = tasks.into_iter().map(|task| (task.id, task)).collect();
    for task in known.values().filter(|task| task.status == TaskStatus::Waiting) {
        tell(Told::Waiting(task));
    }
    // What an event told to look at; one that could not be seen is looked at again.
    let mut look: BTreeSet<Uuid> = BTreeSet::new();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    'waiting: loop {
        let ended = known.values().filter(|task| task.status.is_end()).count();
        if ended == known.len() || any && ended > 0 {
            break;
        }
        tokio::select! {
            item = stream.next() => match item {
                None => return Err(CommandError::failed("the stream of events ended by itself")),
                Some(Item::Failed(error)) => return Err(error),
                Some(Item::Event(event))
                    if matches!(event.data, EventData::StatusChanged { .. } | EventData::TaskCompleted { .. }) =>
                {
                    look.insert(event.task_id);
                }
                Some(Item::Back) => {
                    lost = false;
                    tell(Told::Back);
                }
                Some(Item::Lost { reason, .. }) => {
                    if !std::mem::replace(&mut lost, true) {
                        tell(Told::Lost { reason: &reason });
                    }
                    continue;
                }
                Some(Item::Storage { fails, message, hint }) => {
                    tell(Told::Storage(storage(fails, &message, hint)));
                    continue;
                }
                Some(Item::Event(_) | Item::Delta { .. } | Item::Task(_) | Item::Subscribed { .. }) => continue,
            },
            _ = tick.tick(), if !look.is_empty() => {}
            () = until(deadline) => break,
        }
        for id in look.clone() {
            let rest = rest_of(client, &rest)?;
            let looked = tokio::select! {
                looked = timeout(LOOK_LIMIT, rest.task(id)) => looked,
                () = until(deadline) => break 'waiting,
            };
            match looked {
                Ok(Ok(task)) => {
                    look.remove(&id);
                    if task.status == TaskStatus::Waiting {
                        tell(Told::Waiting(&task));
                    }
                    known.insert(id, task);
                }
                Ok(Err(error)) if error.exit != Exit::Unreachable => return Err(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
    Ok(order.iter().filter_map(|id| known.remove(id)).collect())
}

/// Calls to where the server is now.
fn rest_of(client: &Client, known: &Rest) -> Result<Rest, CommandError> {
    if known.is_at(&client.endpoint()) { Ok(known.clone()) } else { client.rest() }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::client::stub;

    #[tokio::test]
    async fn a_look_that_failed_is_taken_again() {
        let server = stub::Stub::start().await;
        let id = server.task("running", 1);
        let client = server.client();
        let task = client.rest().unwrap().task(id).await.unwrap();
        server.task_is(id, "completed", 2);
        // The event comes, and the look that it leads to finds nobody.
        server.fail_next(2);
        server.event(stub::ended(id, 2));
        let limit = Some(Instant::now() + Duration::from_secs(30));
        let tasks = wait(&client, vec![task], false, limit, |_| {}).await.unwrap();
        assert_eq!(tasks[0].status, TaskStatus::Completed);
        assert_eq!(server.left_to_fail(), 0);
    }
}
