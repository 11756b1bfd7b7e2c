//! Waiting for tasks without showing them.

use std::collections::BTreeMap;

use cadence_protocol::{EventData, Task, TaskStatus};
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::{Client, Item, Rest, Stream};
use crate::error::{CommandError, Exit};

/// Waits for tasks without showing them; ends at `deadline`.
pub async fn wait(
    client: &Client,
    tasks: Vec<Task>,
    any: bool,
    deadline: Option<Instant>,
    mut waiting: impl FnMut(&Task),
) -> Result<Vec<Task>, CommandError> {
    let rest = client.rest()?;
    let mut order: Vec<Uuid> = Vec::new();
    for task in &tasks {
        if !order.contains(&task.id) {
            order.push(task.id);
        }
    }
    let mut stream = Stream::follow(client.clone(), tasks.iter().map(|task| (task.id, task.last_seq)));
    let mut known: BTreeMap<Uuid, Task> = tasks.into_iter().map(|task| (task.id, task)).collect();
    for task in known.values().filter(|task| task.status == TaskStatus::Waiting) {
        waiting(task);
    }
    loop {
        let ended = known.values().filter(|task| task.status.is_end()).count();
        if ended == known.len() || any && ended > 0 {
            break;
        }
        let item = tokio::select! {
            item = stream.next() => item,
            () = until(deadline) => break,
        };
        let id = match item {
            None => return Err(CommandError::failed("the stream of events ended by itself")),
            Some(Item::Failed(error)) => return Err(error),
            Some(Item::Event(event))
                if matches!(event.data, EventData::StatusChanged { .. } | EventData::TaskCompleted { .. }) =>
            {
                event.task_id
            }
            Some(_) => continue,
        };
        match rest_of(client, &rest)?.task(id).await {
            Ok(task) => {
                if task.status == TaskStatus::Waiting {
                    waiting(&task);
                }
                known.insert(id, task);
            }
            Err(error) if error.exit == Exit::Unreachable => {}
            Err(error) => return Err(error),
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
