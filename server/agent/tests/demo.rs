//! The demo agent through its adapter, under a real host: sessions from start to end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cadence_agent::demo::{Demo, scratch_repository};
use cadence_agent::{Agent, Input, Launch, Output, Session, SessionStart, TurnEnd, TurnOutcome};
use cadence_protocol::{ApprovalKind, CommandBody, Decision, EditAction, EventData, PermissionMode};
use support::{alive, environment, eventually, host_program};
use tempfile::TempDir;
use uuid::Uuid;

/// A scratch project, and a session in it.
struct Stage {
    home: TempDir,
    work: TempDir,
    launch: Launch,
}

impl Stage {
    fn new(prompt: &str) -> Self {
        let (home, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        scratch_repository(work.path()).unwrap();
        let mut environment = environment(home.path());
        environment.insert("CADENCE_DEMO_SECONDS".into(), "0".into());
        let launch = Launch {
            task_id: Uuid::new_v4(),
            attempt: 1,
            directory: work.path().into(),
            prompt: prompt.into(),
            prompt_id: Uuid::nil(),
            session: SessionStart::New(Uuid::new_v4()),
            model: None,
            permission: PermissionMode::Edits,
            budget_usd: None,
            max_turns: None,
            environment,
            host: host_program(),
            lock: None,
            raw_log: Some(home.path().join("agent.log")),
            bounds: cadence_agent::sandbox::Bounds::default(),
        };
        Self { home, work, launch }
    }

    async fn start(&self) -> Running {
        Running { session: Demo.start(self.launch.clone()).await.unwrap(), seen: Vec::new() }
    }

    fn tests_pass(&self) -> bool {
        Command::new("sh").arg("test.sh").current_dir(self.work.path()).output().unwrap().status.success()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.work.path().join(name)).unwrap()
    }
}

struct Running {
    session: Session,
    seen: Vec<EventData>,
}

impl Running {
    async fn next(&mut self) -> Output {
        let output = tokio::time::timeout(Duration::from_secs(20), self.session.output.recv()).await;
        let output = output.expect("an output in time").expect("an output before the end");
        if let Output::Event(event) = &output {
            self.seen.push(event.clone());
        }
        output
    }

    async fn until<T>(&mut self, mut wanted: impl FnMut(Output) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    /// Waits until the agent has left a daemon, and gives its process.
    async fn daemon(&mut self) -> i32 {
        self.until(|output| match output {
            Output::Event(EventData::CommandRun { output: Some(text), .. }) => {
                text.lines().next()?.strip_prefix("daemon ")?.parse().ok()
            }
            _ => None,
        })
        .await
    }

    async fn turn_end(&mut self) -> TurnEnd {
        self.until(|output| match output {
            Output::TurnEnd(end) => Some(end),
            Output::Exited { code, stderr } => panic!("ended early with {code:?}: {stderr}"),
            _ => None,
        })
        .await
    }

    async fn approval(&mut self) -> (String, ApprovalKind, String) {
        self.until(|output| match output {
            Output::Event(EventData::ApprovalRequested { approval_id, kind, tool, .. }) => {
                Some((approval_id, kind, tool))
            }
            _ => None,
        })
        .await
    }

    async fn exited(&mut self) -> (Option<i32>, String) {
        self.until(|output| match output {
            Output::Exited { code, stderr } => Some((code, stderr)),
            _ => None,
        })
        .await
    }

    async fn say(&self, input: Input) {
        self.session.input.send(input).await.unwrap();
    }

    async fn answer(&self, approval_id: String, decision: Decision, always: bool, answer: Option<(&str, &str)>) {
        let answers = answer.map(|(question, label)| [(question.to_owned(), label.to_owned())].into());
        let body = CommandBody::Approval {
            approval_id,
            decision,
            always,
            updated_input: None,
            answers,
            message: None,
            by: "dev".into(),
        };
        self.say(Input::Approval(body)).await;
    }

    /// Closes the input and waits for a clean end.
    async fn close(mut self) {
        self.say(Input::Close).await;
        let (code, stderr) = self.exited().await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert_eq!(self.session.output.recv().await, None);
    }

    fn commands(&self) -> Vec<(&str, Option<i32>)> {
        let commands = self.seen.iter().filter_map(|event| match event {
            EventData::CommandRun { command, exit_code, .. } => Some((command.as_str(), *exit_code)),
            _ => None,
        });
        commands.collect()
    }
}

fn message(text: &str) -> Input {
    Input::Message { id: Uuid::new_v4(), text: text.to_owned() }
}

#[tokio::test]
async fn fixes_the_failing_test() {
    let stage = Stage::new("Fix the failing test");
    assert!(!stage.tests_pass());
    let mut running = stage.start().await;
    let end = running.turn_end().await;
    assert_eq!(end.outcome, TurnOutcome::Success);
    assert!(end.summary.contains("no model"), "{}", end.summary);
    assert_eq!(end.background, 0);
    assert!(stage.tests_pass());
    assert_eq!(running.commands(), [("ls", Some(0)), ("sh test.sh", Some(1)), ("sh test.sh", Some(0))]);
    let edit = running.seen.iter().find_map(|event| match event {
        EventData::FileEdit { path, action, diff, lines_changed } => Some((path, *action, diff, *lines_changed)),
        _ => None,
    });
    let (path, action, diff, lines) = edit.unwrap();
    assert_eq!((path.as_str(), action, lines), ("calc.sh", EditAction::Edit, Some(2)));
    assert!(diff.as_deref().unwrap().contains("+add() { echo $(($1 + $2)); }"), "{diff:?}");
    let percents = running.seen.iter().filter_map(|event| match event {
        EventData::Progress { percent, .. } => Some(*percent),
        _ => None,
    });
    let percents: Vec<_> = percents.collect();
    assert!(percents.is_sorted() && percents.last() == Some(&99), "{percents:?}");
    running.close().await;
    assert!(std::fs::read_to_string(stage.home.path().join("agent.log")).unwrap().contains("\"result\""));
}

#[tokio::test]
async fn notes_the_task_in_any_other_repository() {
    let mut stage = Stage::new("Do something\nelse");
    let other = TempDir::new().unwrap();
    stage.launch.directory = other.path().into();
    let mut running = stage.start().await;
    assert_eq!(running.turn_end().await.outcome, TurnOutcome::Success);
    let note = std::fs::read_to_string(other.path().join("cadence-demo.md")).unwrap();
    assert_eq!(note, "- A demo agent was asked: Do something\n");
    running.close().await;
}

#[tokio::test]
async fn a_command_is_allowed() {
    let stage = Stage::new("[[ask touch allowed]]");
    let mut running = stage.start().await;
    let (id, kind, tool) = running.approval().await;
    assert_eq!((kind, tool.as_str()), (ApprovalKind::Permission, "Bash"));
    running.answer(id, Decision::Allow, false, None).await;
    let end = running.turn_end().await;
    assert!(end.denials.is_empty());
    assert!(stage.work.path().join("allowed").exists());
    running.close().await;
}

#[tokio::test]
async fn a_command_is_denied() {
    let stage = Stage::new("[[ask touch denied]]");
    let mut running = stage.start().await;
    let (id, ..) = running.approval().await;
    running.answer(id, Decision::Deny, false, None).await;
    let end = running.turn_end().await;
    assert_eq!(end.outcome, TurnOutcome::Success);
    assert_eq!(end.denials[0].what, "touch denied");
    assert!(!stage.work.path().join("denied").exists());
    assert!(running.commands().is_empty());
    running.close().await;
}

#[tokio::test]
async fn the_mode_all_asks_nothing_but_questions() {
    let mut stage = Stage::new("[[ask touch allowed]] [[question]]");
    stage.launch.permission = PermissionMode::All;
    let mut running = stage.start().await;
    let (id, kind, _) = running.approval().await;
    assert_eq!(kind, ApprovalKind::Question);
    assert!(stage.work.path().join("allowed").exists());
    running.answer(id, Decision::Allow, false, Some(("Which way?", "left"))).await;
    running.turn_end().await;
    assert!(running.seen.iter().any(|event| matches!(event, EventData::Output { text } if text.ends_with("left."))));
    running.close().await;
}

#[tokio::test]
async fn the_mode_ask_asks_for_edits_until_told_always() {
    let mut stage = Stage::new("Write docs");
    stage.launch.permission = PermissionMode::Ask;
    let mut running = stage.start().await;
    let (id, _, tool) = running.approval().await;
    assert_eq!(tool, "Write");
    running.answer(id, Decision::Allow, true, None).await;
    running.turn_end().await;
    assert!(stage.read("README.md").contains("## Usage"));
    running.say(message("Add a --version flag, and never mind [[sleep 0]]")).await;
    let (id, _, tool) = running.approval().await;
    assert_eq!(tool, "Bash", "the edit was not asked for again");
    running.answer(id, Decision::Allow, false, None).await;
    running.turn_end().await;
    assert!(stage.read("calc.sh").contains("--version)"));
    running.close().await;
}

#[tokio::test]
async fn a_message_in_a_turn_is_part_of_it() {
    let stage = Stage::new("[[ask touch one]]");
    let mut running = stage.start().await;
    let (id, ..) = running.approval().await;
    running.say(message("[[run touch two]]")).await;
    running.answer(id, Decision::Allow, false, None).await;
    running.turn_end().await;
    assert_eq!(running.commands(), [("touch one", Some(0)), ("touch two", Some(0))]);
    running.close().await;
}

#[tokio::test]
async fn an_interrupt_stops_a_command_and_a_message_goes_on() {
    let stage = Stage::new("[[run echo $$ > shell; sleep 600 & wait]] [[run touch after]]");
    let mut running = stage.start().await;
    let shell = support::pid_in(&stage.work.path().join("shell")).await;
    running.say(Input::Interrupt).await;
    assert_eq!(running.turn_end().await.outcome, TurnOutcome::Interrupted);
    assert!(!alive(shell));
    assert!(!stage.work.path().join("after").exists());
    running.say(message("[[run touch more]]")).await;
    // The command that was stopped is begun again, and stopped again.
    eventually("the command", || (stage.read("shell") != format!("{shell}\n")).then_some(())).await;
    running.say(Input::Interrupt).await;
    assert_eq!(running.turn_end().await.outcome, TurnOutcome::Interrupted);
    running.say(Input::Kill).await;
    running.exited().await;
}

#[tokio::test]
async fn an_interrupt_takes_an_approval_back() {
    let stage = Stage::new("[[ask]]");
    let mut running = stage.start().await;
    let (asked, ..) = running.approval().await;
    running.say(Input::Interrupt).await;
    let withdrawn = running
        .until(|output| match output {
            Output::Event(EventData::ApprovalResolved { approval_id, decision, .. }) => Some((approval_id, decision)),
            _ => None,
        })
        .await;
    assert_eq!(withdrawn, (asked, Decision::Withdrawn));
    let end = running.turn_end().await;
    assert_eq!((end.outcome, end.denials), (TurnOutcome::Interrupted, Vec::new()));
    running.close().await;
}

#[tokio::test]
async fn bounds_end_a_turn() {
    let mut stage = Stage::new("[[spend 0.2]] [[spend 0.2]] [[run touch spent]]");
    stage.launch.budget_usd = Some(0.3);
    let mut running = stage.start().await;
    let cost = running
        .until(|output| match output {
            Output::Usage(usage) => Some(usage.cost_usd),
            _ => None,
        })
        .await;
    assert!((cost - 0.4).abs() < 1e-9);
    assert_eq!(running.turn_end().await.outcome, TurnOutcome::Budget);
    assert!(!stage.work.path().join("spent").exists());

    // One that keeps no budget tells at once what it spends, and another that uses tokens does not tell what they cost.
    let mut stage = Stage::new("[[overspend 0.4]] [[tokens 7]] [[run touch spent]]");
    stage.launch.budget_usd = Some(0.3);
    let mut running = stage.start().await;
    let told = |output: Output| match output {
        Output::Usage(usage) => Some((usage.cost_usd, usage.input_tokens)),
        _ => None,
    };
    assert_eq!(running.until(told).await, (0.4, 0));
    assert_eq!(running.until(told).await, (0.4, 7));
    assert_eq!(running.turn_end().await.outcome, TurnOutcome::Success);
    assert!(stage.work.path().join("spent").exists());
    running.close().await;

    let mut stage = Stage::new("[[run true]] [[run true]] [[run true]]");
    stage.launch.max_turns = Some(2);
    let mut running = stage.start().await;
    assert_eq!(running.turn_end().await.outcome, TurnOutcome::Turns);
    assert_eq!(running.commands().len(), 2);
}

#[tokio::test]
async fn a_failure_is_told() {
    let stage = Stage::new("[[fail]]");
    let mut running = stage.start().await;
    let end = running.turn_end().await;
    assert_eq!(end.outcome, TurnOutcome::Failed);
    running.say(Input::Close).await;
    assert_eq!(running.exited().await.0, Some(1));
}

#[tokio::test]
async fn a_session_goes_on_or_is_lost() {
    let mut stage = Stage::new("[[events 1]]");
    stage.launch.session = SessionStart::Resume("an-old-one".into());
    let mut running = stage.start().await;
    let session = running
        .until(|output| match output {
            Output::Started { session_id, .. } => Some(session_id),
            _ => None,
        })
        .await;
    assert_eq!(session, "an-old-one");
    running.turn_end().await;
    running.close().await;

    stage.launch.environment.insert("CADENCE_DEMO_FORGET".into(), "1".into());
    let mut running = stage.start().await;
    assert_eq!(running.turn_end().await.outcome, TurnOutcome::ResumeFailed);
    assert_eq!(running.exited().await.0, Some(1));
}

#[tokio::test]
async fn much_output_is_cut_and_odd_bytes_are_replaced() {
    let stage = Stage::new("[[output 40000000]] [[invalid-utf8]] [[events 500]]");
    let mut running = stage.start().await;
    running.turn_end().await;
    let longest = running.seen.iter().map(|event| match event {
        EventData::CommandRun { output, .. } => output.as_deref().map_or(0, str::len),
        _ => 0,
    });
    let longest = longest.max().unwrap();
    assert!((1..300_000).contains(&longest), "{longest}");
    assert!(running.seen.contains(&EventData::Output { text: "Not UTF-8: \u{fffd}".into() }));
    assert!(running.seen.contains(&EventData::Output { text: "Event 500 of 500.".into() }));
    running.close().await;
}

#[tokio::test]
async fn a_daemon_does_not_outlive_the_session() {
    let stage = Stage::new("[[daemonize]] [[hang]]");
    let mut running = stage.start().await;
    let daemon = running.daemon().await;
    assert!(alive(daemon));
    running.say(Input::Interrupt).await;
    running.say(Input::Kill).await;
    let (code, _) = running.exited().await;
    assert_eq!(code, Some(143));
    assert!(!alive(daemon));
}

#[tokio::test]
async fn a_dropped_session_is_killed() {
    let stage = Stage::new("[[daemonize]] [[hang]]");
    let mut running = stage.start().await;
    let daemon = running.daemon().await;
    drop(running);
    eventually("the daemon's death", || (!alive(daemon)).then_some(())).await;
}

#[tokio::test]
async fn a_runner_that_reads_nothing_can_still_kill() {
    let stage = Stage::new("[[events 20000]] [[hang]]");
    let running = stage.start().await;
    let marker = format!("{}:1", stage.launch.task_id);
    let log = stage.home.path().join("agent.log");
    eventually("some lines", || log.metadata().ok().filter(|log| log.len() > 2_000)).await;
    running.say(Input::Kill).await;
    let left = move || {
        let wanted = format!("CADENCE_ATTEMPT={marker}");
        Path::new("/proc").read_dir().into_iter().flatten().flatten().any(|entry| {
            std::fs::read(entry.path().join("environ"))
                .is_ok_and(|text| text.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes()))
        })
    };
    eventually("the agent's death", || (!left()).then_some(())).await;
}
