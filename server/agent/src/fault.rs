//! Named points of the code at which a test makes the process die, stop, slow down or fail. Compiled in for tests only
//! (feature `faults`); elsewhere a point is nothing.
//!
//! `CADENCE_FAULTS` says what happens, as `POINT[@N]=ACTION` with commas between: `claimed=kill`, `heard@3=wait:DIRECTORY`.
//!
//! | action | |
//! |---|---|
//! | `kill` | SIGKILL to this process |
//! | `panic` | a panic |
//! | `wait:DIRECTORY` | makes `DIRECTORY/POINT`, and goes on when there is a `DIRECTORY/POINT.go` |
//! | `delay:MILLISECONDS` | goes on later |
//! | `fail` | the step that follows fails, where the point allows it |
//!
//! `@N` means the Nth time only (from 1); without it, the first time for `kill`, `panic` and `wait`, and each time for the others.

/// Declares the points, each with where it is.
macro_rules! points {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// A point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point { $($(#[doc = $doc])* $name,)* }

        impl Point {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

points! {
    /// A task was stored; whoever asked for it is not told yet.
    Created = "created",
    /// An attempt was claimed, and nothing else done.
    Claimed = "claimed",
    /// The mirror of the repository is up to date.
    Mirrored = "mirrored",
    /// The workspace is checked out, and not recorded.
    CheckedOut = "checked-out",
    /// The workspace is whole.
    Prepared = "prepared",
    /// The agent's process was started.
    Launched = "launched",
    /// An event of the agent is about to be reported.
    Heard = "heard",
    /// The agent is in a tool.
    InTool = "in-tool",
    /// A request for approval was reported.
    Asked = "asked",
    /// Frames are about to be reported.
    Reporting = "reporting",
    /// Frames were stored, and the runner is not told yet.
    Reported = "reported",
    /// A command reached the runner, and nothing was made of it.
    Commanded = "commanded",
    /// The agent is gone; its work is about to be committed.
    Finishing = "finishing",
    /// The agent's work is committed, and in its workspace alone.
    Committed = "committed",
    /// The branch is in the user's repository; the attempt has not ended.
    Published = "published",
    /// The end was stored, and the runner is not told yet.
    Ended = "ended",
    /// A transaction is about to be committed. Can fail.
    Storing = "storing",
    /// A transaction was committed; nobody knows.
    Stored = "stored",
    /// The host process runs, its agent does not.
    HostStarted = "host-started",
    /// The host has started its agent.
    HostLaunched = "host-launched",
    /// The agent has ended; what it left running has not.
    HostEnding = "host-ending",
    /// The dashboard is about to draw what changed.
    Drawing = "drawing",
}

#[cfg(feature = "faults")]
pub use active::{VARIABLE, environment, fails, here, reached};
#[cfg(not(feature = "faults"))]
pub use inert::{environment, fails, here, reached};

#[cfg(not(feature = "faults"))]
mod inert {
    use super::Point;

    /// The point, for async code: in tests it has something to wait for.
    #[inline]
    pub async fn reached(_: Point) {}

    /// The point, for code that blocks.
    #[inline]
    pub fn here(_: Point) {}

    /// Whether the step that follows shall fail.
    #[inline]
    pub fn fails(_: Point) -> bool {
        false
    }

    /// What a process gets in its environment, so that its own points are heard.
    pub fn environment() -> Option<(&'static str, String)> {
        None
    }
}

#[cfg(feature = "faults")]
mod active {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::Point;

    pub const VARIABLE: &str = "CADENCE_FAULTS";
    /// How often a point that waits looks whether it may go on.
    const LOOK: Duration = Duration::from_millis(5);

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Action {
        Kill,
        Panic,
        Wait(PathBuf),
        Delay(Duration),
        Fail,
    }

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Fault {
        point: Point,
        /// The time that it happens, from 1; each time where there is none.
        time: Option<u64>,
        action: Action,
    }

    static FAULTS: LazyLock<Vec<Fault>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        match text.split(',').filter(|part| !part.is_empty()).map(parse).collect() {
            Ok(faults) => faults,
            Err(error) => {
                eprintln!("{VARIABLE}: {error}");
                std::process::exit(2)
            }
        }
    });
    static TIMES: LazyLock<Mutex<HashMap<Point, u64>>> = LazyLock::new(Mutex::default);

    fn parse(text: &str) -> Result<Fault, String> {
        let (place, action) = text.split_once('=').ok_or_else(|| format!("`{text}` has no action"))?;
        let (word, time) = match place.split_once('@') {
            Some((word, time)) => (word, Some(time.parse().map_err(|_| format!("`{time}` is no number"))?)),
            None => (place, None),
        };
        let point = Point::ALL.iter().find(|point| point.as_str() == word);
        let point = *point.ok_or_else(|| format!("there is no point `{word}`"))?;
        let (action, argument) = action.split_once(':').unwrap_or((action, ""));
        let action = match action {
            "kill" => Action::Kill,
            "panic" => Action::Panic,
            "wait" => Action::Wait(argument.into()),
            "delay" => Action::Delay(Duration::from_millis(argument.parse().map_err(|_| "delay:MILLISECONDS")?)),
            "fail" => Action::Fail,
            _ => return Err(format!("there is no action `{action}`")),
        };
        let once = matches!(action, Action::Kill | Action::Panic | Action::Wait(_)).then_some(1);
        Ok(Fault { point, time: time.or(once), action })
    }

    fn next(point: Point) -> Option<Action> {
        if FAULTS.iter().all(|fault| fault.point != point) {
            return None;
        }
        let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
        let time = times.entry(point).or_default();
        *time += 1;
        let due = FAULTS.iter().find(|fault| fault.point == point && fault.time.is_none_or(|wanted| wanted == *time));
        due.map(|fault| fault.action.clone())
    }

    /// What is done at once; gives what is to be waited for.
    fn begin(point: Point) -> Option<Action> {
        let action = next(point)?;
        match &action {
            Action::Kill => {
                let _ = kill(Pid::this(), Signal::SIGKILL);
            }
            Action::Panic => panic!("a test wants it so, at `{}`", point.as_str()),
            Action::Wait(directory) => {
                let _ = std::fs::write(directory.join(point.as_str()), "");
            }
            Action::Delay(_) | Action::Fail => {}
        }
        Some(action)
    }

    fn gate(directory: &Path, point: Point) -> PathBuf {
        directory.join(format!("{}.go", point.as_str()))
    }

    pub async fn reached(point: Point) {
        match begin(point) {
            Some(Action::Wait(directory)) => {
                while !gate(&directory, point).exists() {
                    tokio::time::sleep(LOOK).await;
                }
            }
            Some(Action::Delay(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
    }

    pub fn here(point: Point) {
        match begin(point) {
            Some(Action::Wait(directory)) => {
                while !gate(&directory, point).exists() {
                    std::thread::sleep(LOOK);
                }
            }
            Some(Action::Delay(time)) => std::thread::sleep(time),
            _ => {}
        }
    }

    pub fn fails(point: Point) -> bool {
        matches!(begin(point), Some(Action::Fail))
    }

    pub fn environment() -> Option<(&'static str, String)> {
        std::env::var(VARIABLE).ok().map(|value| (VARIABLE, value))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn faults_are_read() {
            let fault = |point, time, action| Ok(Fault { point, time, action });
            assert_eq!(parse("claimed=kill"), fault(Point::Claimed, Some(1), Action::Kill));
            assert_eq!(parse("drawing@2=panic"), fault(Point::Drawing, Some(2), Action::Panic));
            assert_eq!(parse("heard@3=wait:/a:b"), fault(Point::Heard, Some(3), Action::Wait("/a:b".into())));
            assert_eq!(parse("stored=delay:5"), fault(Point::Stored, None, Action::Delay(Duration::from_millis(5))));
            for text in ["claimed", "nowhere=kill", "claimed@x=kill", "claimed=explode", "claimed=delay:x"] {
                assert!(parse(text).is_err(), "{text}");
            }
        }
    }
}
