//! What bounds an agent from outside: money, time, and a service that refuses for its rate.

use std::time::Duration;

use cadence_protocol::{EndReason, EventData, FrameBody, Timestamp, Usage};
use tokio::time::Instant;

use super::{Drive, Phase};
use crate::TaskSource;

/// What an agent is told when the wait for a rate limit is over.
const GO_ON: &str = "Go on with the task where you left off.";
/// Wait for a rate limit that names no time: the first, and the longest that doubling leads to. No wait is shorter than the
/// first, so that a clock that is wrong does not make it hammer.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));
/// Longest wait for a rate limit, whatever the service says.
pub const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How it ends when the time is over while the service refuses.
pub const LIMITED: &str = "The time ended while the model's service refused requests for their rate.";

impl<S: TaskSource> Drive<'_, S> {
    /// Takes in what the process has used so far. Where that is more than may be, the agent ends, whatever it does itself.
    pub(super) async fn used(&mut self, usage: Usage) {
        let usage = self.spending.told(usage);
        self.reporter.frame(FrameBody::Usage { usage }).await;
        self.say_blind(false).await;
        let now = Timestamp::now_utc();
        if self.spending.is_spent(now) {
            let summary = self.spending.sentence(now).unwrap_or_default();
            self.end(EndReason::Budget, summary).await;
        }
    }

    /// Says, once, that a budget was set and cannot be kept.
    pub(super) async fn say_blind(&mut self, turn_ended: bool) {
        if self.spending.is_blind(turn_ended) {
            let message = "The agent does not say what it costs; the budget cannot be kept.".to_owned();
            self.reporter.event(EventData::Error { message, recoverable: true }).await;
        }
    }

    /// It was done when it was to end for its cost: nothing is left to be stopped, and the work counts.
    pub(super) async fn done_by_then(&mut self, why: String, summary: String) {
        self.kill_at = None;
        self.phase = Phase::Working;
        let message = format!("{why} The agent was done by then.");
        self.reporter.event(EventData::Error { message, recoverable: true }).await;
        self.finished(summary).await;
    }

    /// Notes when the model's service takes requests again.
    pub(super) fn refused(&mut self, retry_after_secs: Option<u64>) -> Instant {
        self.limited = true;
        let doubled = (BACK_OFF.0 * 2u32.saturating_pow(self.parks.min(10))).min(BACK_OFF.1);
        let wait = retry_after_secs.map_or(doubled, Duration::from_secs).clamp(BACK_OFF.0, LONGEST_WAIT);
        self.parks += 1;
        let until = Instant::now() + wait;
        self.passes = Some(until);
        until
    }

    /// Waits until the model's service takes requests again.
    pub(super) async fn park(&mut self, retry_after_secs: Option<u64>, why: String) {
        let until = self.refused(retry_after_secs);
        self.phase = Phase::Parked { until };
        self.reporter.show_limited(until, Some(why)).await;
    }

    pub fn parked(&self) -> Option<Instant> {
        if let Phase::Parked { until } = self.phase { Some(until) } else { None }
    }

    /// Until when the service refuses, where nothing was asked of it since it said so.
    pub const fn passes(&self) -> Option<Instant> {
        self.passes
    }

    pub async fn unpark(&mut self) {
        self.tell(GO_ON.to_owned(), Vec::new()).await;
    }

    pub async fn out_of_time(&mut self) {
        let (reason, text) =
            if self.limited { (EndReason::RateLimited, LIMITED) } else { (EndReason::TimedOut, "The time ended.") };
        self.clock.stop(Instant::now());
        self.end(reason, text.into()).await;
    }
}
