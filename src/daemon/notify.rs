//! What the service manager is told: ready, alive, stopping (sd_notify(3)). Without one nothing is said.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;

use super::link::State;
use super::source::Source;

/// How often the status is looked at where no watchdog asks for more.
const LOOK: Duration = Duration::from_secs(15);

/// Tells that the daemon is ready, how it is, and that it lives, for as long as it does.
pub async fn run(mut states: watch::Receiver<State>, source: Arc<Source>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    say(&[NotifyState::Ready]);
    // Half the time is what sd_watchdog_enabled(3) recommends.
    let pause = sd_notify::watchdog_enabled().map_or(LOOK, |limit| limit / 2);
    loop {
        let link = match &*states.borrow_and_update() {
            State::Dialling => "connecting".to_owned(),
            State::Connected => "connected".to_owned(),
            State::Lost(reason, _) => format!("not connected: {reason}"),
        };
        // The lock that runner and link share is taken for it: where they hang, the watchdog bites.
        let status = format!("{link}; {} attempts", source.attempts().len());
        say(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
