//! What following asks of the server, and what comes of it: requests that wait, ends, decisions, cancels.

use std::collections::VecDeque;

use cadence_protocol::{Approval, Decide};
use tokio::time::Instant;
use uuid::Uuid;

use super::calls::Answer;
use super::prompt::Choice;
use super::{Follower, LOOK, Left, Outcome};
use crate::error::{CommandError, Exit};

impl Follower {
    /// Asks the server what it is to be asked.
    pub(super) fn call(&mut self) {
        if self.lost || self.not_before.is_some_and(|when| Instant::now() < when) {
            return;
        }
        self.not_before = None;
        if self.look && self.options.attended && !self.cancelling && self.calls.requests() {
            self.look = false;
        }
        for state in self.tasks.values_mut().filter(|state| state.check && !state.ended) {
            state.check = !self.calls.task(state.task.id);
        }
        for id in &self.uncancelled {
            self.calls.cancel(*id);
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) -> Result<Option<Outcome>, CommandError> {
        match answer {
            Answer::Requests(Ok(all)) => return Ok(self.waiting(all)),
            Answer::Requests(Err(error)) if error.exit == Exit::Unreachable => {
                self.look = true;
                self.later();
            }
            Answer::Task(id, Ok(task)) => {
                let Some(state) = self.tasks.get_mut(&id) else { return Ok(None) };
                // More events are to come, and ask again; or more have come than it knows of.
                state.check |= state.seen > task.last_seq;
                state.ended = task.status.is_end() && state.seen == task.last_seq;
                state.task = *task;
            }
            Answer::Task(id, Err(error)) if error.exit == Exit::Unreachable => {
                if let Some(state) = self.tasks.get_mut(&id) {
                    state.check = true;
                }
                self.later();
            }
            Answer::Decided(id, Ok(())) => drop(self.decided.insert(id)),
            // Somebody else was faster, the agent took it back, or nobody knows whether it came to the server; what waits
            // then tells.
            Answer::Decided(_, Err(error)) if error.exit != Exit::NotAllowed => {
                self.note(error.message());
                self.look = true;
                if error.exit == Exit::Unreachable {
                    self.later();
                }
            }
            Answer::Paused(id, Ok(())) => {
                self.pausing.remove(&id);
                if self.pausing.is_empty() {
                    return Ok(Some(Outcome::Left(Left::Paused)));
                }
            }
            Answer::Paused(_, Err(error)) if error.exit == Exit::Unreachable => {
                self.pausing.clear();
                self.note(&format!("it is not paused: {}", error.message()));
            }
            // One that failed has ended in between.
            Answer::Cancelled(id, Ok(())) => drop(self.uncancelled.remove(&id)),
            Answer::Cancelled(id, Err(error)) if error.exit == Exit::Failed => drop(self.uncancelled.remove(&id)),
            Answer::Cancelled(_, Err(error)) if error.exit == Exit::Unreachable => self.later(),
            Answer::Requests(Err(error))
            | Answer::Task(_, Err(error))
            | Answer::Decided(_, Err(error))
            | Answer::Paused(_, Err(error))
            | Answer::Cancelled(_, Err(error)) => return Err(error),
        }
        Ok(None)
    }

    /// The connection was lost: what was asked is asked again when it is back.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        if self.calls.decides_any() {
            self.note("whether the answer came to the server is not known; if not, it is asked again");
        }
        if !std::mem::take(&mut self.pausing).is_empty() {
            self.note("it is not known whether it is paused");
        }
        self.calls.drop_all();
        for state in self.tasks.values_mut() {
            state.check |= state.task.status.is_end();
        }
    }

    fn later(&mut self) {
        self.not_before = Some(Instant::now() + LOOK);
    }

    /// What waits for an answer. With nobody to ask, that is the end of following.
    fn waiting(&mut self, all: Vec<Approval>) -> Option<Outcome> {
        let waiting: VecDeque<Approval> = all
            .into_iter()
            .filter(|approval| self.tasks.contains_key(&approval.task_id))
            .filter(|approval| !self.decided.contains(&approval.id) && !self.calls.decides(&approval.id))
            .collect();
        if self.cancelling {
            return None;
        }
        if !self.terminal.asks && !waiting.is_empty() {
            return Some(Outcome::InputNeeded(waiting.into()));
        }
        self.queue = waiting;
        None
    }

    pub(super) fn decide(&mut self, approval: &Approval, decide: Decide) {
        self.asking = None;
        self.queue.retain(|waiting| waiting.id != approval.id);
        if self.lost {
            self.note("the server is away; it is asked again when it is back");
            return;
        }
        self.calls.decide(approval, decide);
    }

    pub(super) fn choose(&mut self, choice: Choice) -> Option<Outcome> {
        match choice {
            Choice::Stay => None,
            Choice::Detach => Some(Outcome::Left(Left::Detached)),
            Choice::Cancel => self.cancel_all(),
            Choice::Pause if self.lost => {
                self.note("the server is away; it cannot be paused now");
                None
            }
            Choice::Pause => {
                self.pausing = self.live().into_iter().collect();
                let ids: Vec<Uuid> = self.pausing.iter().copied().collect();
                ids.into_iter().for_each(|id| self.calls.pause(id));
                None
            }
        }
    }

    /// Cancels what is live; asked a second time, it does not wait for the end.
    pub(super) fn cancel_all(&mut self) -> Option<Outcome> {
        if std::mem::replace(&mut self.cancelling, true) {
            let left = if self.uncancelled.is_empty() { Left::Cancelled } else { Left::Detached };
            return Some(Outcome::Left(left));
        }
        self.queue.clear();
        self.uncancelled = self.live().into_iter().collect();
        if self.lost {
            self.note("the server is away; it is cancelled when it is back");
        }
        None
    }

    /// All ended is the end.
    pub(super) fn ended(&mut self) -> Option<Outcome> {
        if !self.tasks.values().all(|state| state.ended) {
            return None;
        }
        self.asking = None;
        self.view.clear_status();
        Some(Outcome::Ended(self.tasks.values().map(|state| state.task.clone()).collect()))
    }
}
