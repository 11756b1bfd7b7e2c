//! Calls to the server that run while following goes on: a server that does not answer holds up neither the screen nor the
//! keys.

use std::collections::BTreeSet;

use cadence_protocol::{Approval, Decide, Task};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::client::{Client, Rest};
use crate::error::CommandError;

/// What a call came to.
pub enum Answer {
    /// What waits for an answer, over all tasks.
    Requests(Result<Vec<Approval>, CommandError>),
    Task(Uuid, Result<Box<Task>, CommandError>),
    /// A request was decided, by its id.
    Decided(String, Result<(), CommandError>),
    Paused(Uuid, Result<(), CommandError>),
    Cancelled(Uuid, Result<(), CommandError>),
}

/// A call that runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Requests,
    Task(Uuid),
    Decide(String),
    Pause(Uuid),
    Cancel(Uuid),
}

/// The calls that run; each at most once at a time.
pub struct Calls {
    client: Client,
    rest: Rest,
    running: JoinSet<(Call, Answer)>,
    names: BTreeSet<Call>,
}

impl Calls {
    pub fn new(client: &Client) -> Result<Self, CommandError> {
        Ok(Self { client: client.clone(), rest: client.rest()?, running: JoinSet::new(), names: BTreeSet::new() })
    }

    /// The connection broke: what runs is given up, and what follows goes to where the server is then. What was asked of the
    /// server may be done or not.
    pub fn drop_all(&mut self) {
        self.running = JoinSet::new();
        self.names.clear();
    }

    /// The connection is back, maybe to another server.
    pub fn reconnect(&mut self) -> Result<(), CommandError> {
        self.drop_all();
        self.rest = self.client.rest()?;
        Ok(())
    }

    /// The next answer; waits for ever where nothing runs.
    pub async fn next(&mut self) -> Answer {
        loop {
            match self.running.join_next().await {
                Some(Ok((call, answer))) => {
                    self.names.remove(&call);
                    return answer;
                }
                // One that was dropped.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Gives `false` where one runs already, which may have looked too early.
    pub fn requests(&mut self) -> bool {
        self.start(Call::Requests, |rest| async move { Answer::Requests(rest.approvals().await) })
    }

    /// Gives `false` where one runs already.
    pub fn task(&mut self, id: Uuid) -> bool {
        self.start(Call::Task(id), move |rest| async move { Answer::Task(id, rest.task(id).await.map(Box::new)) })
    }

    pub fn decide(&mut self, approval: &Approval, decide: Decide) {
        let (task, id) = (approval.task_id, approval.id.clone());
        self.start(Call::Decide(id.clone()), move |rest| async move {
            let decided = rest.decide(task, &id, &decide).await.map(drop);
            Answer::Decided(id, decided)
        });
    }

    /// Whether an answer to this request is on its way.
    pub fn decides(&self, approval: &str) -> bool {
        self.names.contains(&Call::Decide(approval.to_owned()))
    }

    pub fn decides_any(&self) -> bool {
        self.names.iter().any(|call| matches!(call, Call::Decide(_)))
    }

    pub fn pause(&mut self, id: Uuid) {
        self.start(Call::Pause(id), move |rest| async move { Answer::Paused(id, rest.pause(id).await.map(drop)) });
    }

    pub fn cancel(&mut self, id: Uuid) {
        self.start(Call::Cancel(id), move |rest| async move { Answer::Cancelled(id, rest.cancel(id).await.map(drop)) });
    }

    fn start<F>(&mut self, call: Call, make: impl FnOnce(Rest) -> F) -> bool
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        if !self.names.insert(call.clone()) {
            return false;
        }
        let answer = make(self.rest.clone());
        self.running.spawn(async move { (call, answer.await) });
        true
    }
}
