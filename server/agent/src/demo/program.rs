//! `cadence demo-agent`: turns, their boundaries and results.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::memory::Memory;
use super::script::{self, Step};
use super::wire::{self, Incoming, Wire};

/// Variable that says how many seconds a turn takes; 2 unless told.
pub const SECONDS_VARIABLE: &str = "CADENCE_DEMO_SECONDS";
/// Variable that makes the agent forget the session that it is to resume, as Claude Code may.
const FORGET_VARIABLE: &str = "CADENCE_DEMO_FORGET";
const DEFAULT_SECONDS: f64 = 2.0;
/// Most entries of the list of steps.
const MAX_TICKS: usize = 60;

/// Runs the demo agent on this process's stdin and stdout.
pub fn run() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    if arguments.first().is_some_and(|argument| argument == super::perform::DAEMON) {
        return super::perform::daemon();
    }
    match Options::read(&arguments) {
        Ok(options) => Program::new(options).serve(),
        Err(message) => {
            eprintln!("cadence demo-agent: {message}");
            ExitCode::from(2)
        }
    }
}

/// The command line.
#[derive(Debug, Default)]
struct Options {
    session: String,
    resumed: bool,
    mode: String,
    budget: Option<f64>,
    max_turns: Option<u32>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            let number = || format!("{argument}: no number");
            match name {
                "--session-id" => options.session = value.to_owned(),
                "--resume" => (options.session, options.resumed) = (value.to_owned(), true),
                "--permission-mode" => options.mode = value.to_owned(),
                "--max-budget-usd" => options.budget = Some(value.parse().map_err(|_| number())?),
                "--max-turns" => options.max_turns = Some(value.parse().map_err(|_| number())?),
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        if options.session.is_empty() {
            return Err("--session-id or --resume is needed".into());
        }
        Ok(options)
    }
}

/// Why a turn stops before its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Interrupted,
    /// The task told it to.
    Failed,
    Budget,
    Turns,
    /// The model's service refuses for its rate.
    Limited,
}

/// The running agent.
pub(super) struct Program {
    options: Options,
    pub(super) wire: Wire,
    pub(super) directory: PathBuf,
    inbox: Receiver<Incoming>,
    unfinished: Work,
    memory: Memory,
    /// The session that it is to go on with is not known here.
    forgotten: bool,
    /// Messages that were not taken up yet.
    messages: VecDeque<(Value, String)>,
    pub(super) answers: Vec<(String, Value)>,
    /// No more input comes.
    pub(super) closed: bool,
    ids: u64,
    /// Edits, and commands, that need no permission any more.
    pub(super) edits_allowed: bool,
    pub(super) commands_allowed: bool,
    pub(super) cost: f64,
    /// Tokens that it claims to have used in this turn.
    pub(super) tokens: u64,
    pub(super) keeps_budget: bool,
    /// Whether it tells what it costs.
    pub(super) priced: bool,
    tools: u32,
    pub(super) denials: Vec<Value>,
}

impl Program {
    fn new(options: Options) -> Self {
        let (sender, inbox) = channel();
        std::thread::spawn(move || wire::read(std::io::stdin().lock(), &sender));
        let allowed = options.mode == "acceptEdits";
        let directory = std::env::current_dir().unwrap_or_default();
        let memory = Memory::of(&options.session, &directory);
        let recalled = memory.recall().filter(|_| options.resumed);
        let forgotten = options.resumed
            && (std::env::var_os(FORGET_VARIABLE).is_some() || (memory.is_kept() && recalled.is_none()));
        let mut unfinished = recalled.unwrap_or_default();
        unfinished.interrupt();
        unfinished.tidy();
        Self {
            wire: Wire { session: options.session.clone() },
            options,
            directory,
            inbox,
            unfinished,
            memory,
            forgotten,
            messages: VecDeque::new(),
            answers: Vec::new(),
            closed: false,
            ids: 0,
            edits_allowed: allowed,
            // Its own commands are known to be harmless; only the mode that asks for everything asks for them.
            commands_allowed: allowed,
            cost: 0.0,
            tokens: 0,
            keeps_budget: true,
            priced: true,
            tools: 0,
            denials: Vec::new(),
        }
    }

    fn serve(mut self) -> ExitCode {
        if self.forgotten {
            let error = format!("No conversation found with session ID: {}", self.options.session);
            self.wire.line(json!({
                "type": "result", "subtype": "error_during_execution", "is_error": true, "errors": [error],
                "total_cost_usd": 0, "permission_denials": [],
            }));
            return ExitCode::FAILURE;
        }
        let mut failed = false;
        loop {
            while self.messages.is_empty() {
                if self.closed {
                    return ExitCode::from(u8::from(failed));
                }
                // An interrupt between turns has nothing to stop.
                drop(self.listen(None));
            }
            let end = self.turn();
            failed = !matches!(end, Ok(_) | Err(Stop::Interrupted));
            self.report(end);
        }
    }

    /// Takes in one thing, waiting for it until `deadline`, or for ever. Says whether something came.
    pub(super) fn listen(&mut self, deadline: Option<Instant>) -> Result<bool, Stop> {
        let incoming = match deadline {
            None if self.closed => return Ok(false),
            None => self.inbox.recv().unwrap_or(Incoming::Closed),
            Some(deadline) => match self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(incoming) => incoming,
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
                    return Ok(false);
                }
            },
        };
        match incoming {
            Incoming::Message { uuid, text } => self.messages.push_back((uuid, text)),
            Incoming::Answer { request_id, response } => self.answers.push((request_id, response)),
            Incoming::Closed => self.closed = true,
            Incoming::Malformed => {
                eprintln!("cadence demo-agent: a line of the input is malformed");
                std::process::exit(1);
            }
            Incoming::Interrupt { request_id } => {
                self.wire.acknowledge(&request_id);
                return Err(Stop::Interrupted);
            }
        }
        Ok(true)
    }

    /// Waits, listening.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.listen(Some(deadline))?;
        }
        Ok(())
    }

    pub(super) fn next_id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}_demo_{}_{}", std::process::id(), self.ids)
    }

    /// Counts a use of a tool against the bounds of the turn.
    pub(super) fn count_tool(&mut self) -> Result<(), Stop> {
        self.tools += 1;
        if self.options.max_turns.is_some_and(|max| self.tools > max) {
            return Err(Stop::Turns);
        }
        self.check_budget()
    }

    pub(super) fn check_budget(&self) -> Result<(), Stop> {
        if self.keeps_budget && self.options.budget.is_some_and(|budget| self.cost > budget) {
            Err(Stop::Budget)
        } else {
            Ok(())
        }
    }

    /// Works on the first message, and on those that come meanwhile. Gives the last words.
    fn turn(&mut self) -> Result<String, Stop> {
        self.tools = 0;
        self.wire.line(json!({
            "type": "system", "subtype": "init", "cwd": self.directory, "model": "demo",
            "permissionMode": self.options.mode, "tools": ["Bash", "Read", "Edit", "Write", "TodoWrite"],
        }));
        let again = if self.options.resumed { ", and continue an earlier session" } else { "" };
        // What an interrupt left undone is done first.
        let mut work = std::mem::take(&mut self.unfinished);
        self.take_messages(&mut work);
        self.wire.say(&format!("I am the demo agent: no model, I follow a script{again}."));
        let end = self.work(&mut work);
        if let Err(stop) = end {
            match stop {
                Stop::Interrupted | Stop::Limited => work.interrupt(),
                // Told to go on, it fails again.
                Stop::Failed => {}
                Stop::Budget | Stop::Turns => work = Work::default(),
            }
            self.memory.keep(&work);
            self.unfinished = work;
            return Err(stop);
        }
        let summary = format!("Demo agent (no model): {}", work.summary);
        self.wire.say(&summary);
        Ok(summary)
    }

    fn work(&mut self, work: &mut Work) -> Result<(), Stop> {
        while let Some(step) = work.steps.front().cloned() {
            self.show(work);
            for _ in 0..work.ticks {
                self.pause(work.tick)?;
                work.elapsed += 1;
                if work.ticks > 1 {
                    self.show(work);
                }
            }
            self.perform(step)?;
            work.steps.pop_front();
            work.done += 1;
            work.elapsed = 0;
            // Messages that came meanwhile are taken up here, between two steps.
            while self.listen(Some(Instant::now()))? {}
            self.memory.keep(work);
            self.take_messages(work);
        }
        self.show(work);
        Ok(())
    }

    fn take_messages(&mut self, work: &mut Work) {
        while let Some((uuid, text)) = self.messages.pop_front() {
            let scratch = is_scratch(&self.directory);
            let plan = script::plan(&text, scratch);
            if !plan.steps.is_empty() && work.steps.front() == Some(&Step::Fail) {
                // Told to do something else, it does not fail again.
                *work = Work::default();
            }
            work.add(plan);
            // Whoever is told that it was taken does not say it again.
            self.memory.keep(work);
            self.wire.replay(&uuid, &text);
        }
    }

    /// Writes the list of steps.
    fn show(&mut self, work: &Work) {
        let id = self.next_id("toolu");
        let input = json!({"todos": work.todos()});
        self.wire.assistant(json!({"type": "tool_use", "id": id, "name": "TodoWrite", "input": input}));
        self.wire.tool_result(&id, "The list was changed.", false, json!({}));
    }

    /// Writes the turn's result.
    fn report(&mut self, end: Result<String, Stop>) {
        let denials = std::mem::take(&mut self.denials);
        let mut result = json!({
            "type": "result", "num_turns": self.tools, "usage": {"input_tokens": std::mem::take(&mut self.tokens)},
            "permission_denials": denials, "is_error": end.is_err(), "terminal_reason": "completed",
        });
        if self.priced {
            result["total_cost_usd"] = json!(self.cost);
        }
        let (subtype, errors) = match &end {
            Ok(summary) => {
                result["result"] = json!(summary);
                ("success", None)
            }
            Err(Stop::Interrupted) => {
                result["terminal_reason"] = json!("aborted_tools");
                ("error_during_execution", None)
            }
            Err(Stop::Limited) => {
                result["api_error_status"] = json!(429);
                ("success", Some("The model's service refuses requests for their rate.".to_owned()))
            }
            Err(Stop::Failed) => ("error_during_execution", Some("Demo agent: I was told to fail.".to_owned())),
            Err(Stop::Budget) => {
                let budget = self.options.budget.unwrap_or_default();
                ("error_max_budget_usd", Some(format!("Reached maximum budget (${budget})")))
            }
            Err(Stop::Turns) => {
                result["terminal_reason"] = json!("max_turns");
                let turns = self.options.max_turns.unwrap_or_default();
                ("error_max_turns", Some(format!("Reached maximum number of turns ({turns})")))
            }
        };
        result["subtype"] = json!(subtype);
        if let Some(error) = errors {
            result["errors"] = json!([error]);
        }
        self.wire.line(result);
    }
}

/// The steps of a turn and how long they take.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Work {
    steps: VecDeque<Step>,
    titles: Vec<String>,
    done: usize,
    summary: String,
    tick: Duration,
    /// Parts that each step's time is divided in, so that long ones show progress.
    ticks: usize,
    elapsed: usize,
}

impl Work {
    fn add(&mut self, plan: script::Plan) {
        self.titles.extend(plan.steps.iter().map(Step::title));
        self.steps.extend(plan.steps);
        if let Some(summary) = plan.summary {
            self.summary = summary;
        }
        let seconds = std::env::var(SECONDS_VARIABLE).ok().and_then(|text| text.parse::<f64>().ok());
        let seconds = seconds.filter(|seconds| (0.0..=86_400.0).contains(seconds)).unwrap_or(DEFAULT_SECONDS);
        let count = self.steps.len().max(1);
        let ticks = (seconds.ceil() as usize).clamp(count, MAX_TICKS.max(count));
        self.ticks = ticks.div_ceil(count);
        self.tick = Duration::from_secs_f64(seconds / (count * self.ticks) as f64);
    }

    #[cfg(test)]
    pub fn of(prompt: &str) -> Self {
        let mut work = Self::default();
        work.add(script::plan(prompt, false));
        work
    }

    /// Prepares to go on later. A wait that was cut short is not taken up again, and neither is a refusal.
    fn interrupt(&mut self) {
        if matches!(self.steps.front(), Some(Step::Sleep(_) | Step::Limited(_) | Step::Hang)) {
            self.steps.pop_front();
            self.done += 1;
        }
        self.elapsed = 0;
    }

    /// Keeps only the last words of what is done.
    fn tidy(&mut self) {
        if self.steps.is_empty() {
            *self = Self { summary: std::mem::take(&mut self.summary), ..Self::default() };
        }
    }

    fn todos(&self) -> Vec<Value> {
        let parts = self.ticks.max(1);
        let all = self.titles.iter().flat_map(|title| std::iter::repeat_n(title, parts)).enumerate();
        let now = self.done * parts + self.elapsed.min(parts - 1);
        all.map(|(index, title)| {
            let status = match index.cmp(&now) {
                std::cmp::Ordering::Less => "completed",
                std::cmp::Ordering::Equal => "in_progress",
                std::cmp::Ordering::Greater => "pending",
            };
            json!({"content": title, "activeForm": title, "status": status})
        })
        .collect()
    }
}

fn is_scratch(directory: &Path) -> bool {
    ["calc.sh", "test.sh"].iter().all(|name| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_list_counts_done_parts() {
        let mut work = Work::default();
        work.add(script::plan("[[fail]][[hang]]", false));
        (work.done, work.ticks, work.elapsed) = (1, 3, 2);
        let done = work.todos().iter().filter(|todo| todo["status"] == "completed").count();
        assert_eq!((work.todos().len(), done), (6, 5));
        work.elapsed = 9;
        assert_eq!(work.todos()[5]["status"], "in_progress");
    }

    #[test]
    fn reads_its_command_line() {
        let read = |arguments: &[&str]| Options::read(&arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>());
        let options = read(&["--resume=abc", "--max-budget-usd=0.5", "--max-turns=3"]).unwrap();
        assert_eq!((options.session.as_str(), options.resumed, options.budget), ("abc", true, Some(0.5)));
        assert!(read(&[]).is_err());
        assert!(read(&["--session-id=a", "--bogus"]).unwrap_err().contains("--bogus"));
        assert!(read(&["--session-id=a", "--max-turns=x"]).is_err());
    }
}
