//! The steps of the demo agent, carried out.

use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::edit::{self, Edited};
use super::program::{Program, Stop};
use super::script::Step;

/// Argument with which the agent starts itself to leave a daemon behind.
pub const DAEMON: &str = "--daemon";
/// Seconds that the daemon lives by itself.
const DAEMON_LIFE: &str = "600";
/// Most bytes of one command's output.
const MAX_OUTPUT: u64 = 8 << 20;
/// Bytes that one command of `[[output]]` prints.
const OUTPUT_PART: u64 = 4 << 20;

/// What came of a tool.
struct ToolResult {
    content: String,
    is_error: bool,
    details: Value,
}

impl ToolResult {
    fn failed(error: &str) -> Self {
        let content = format!("<tool_use_error>{error}</tool_use_error>");
        Self { content, is_error: true, details: json!(format!("Error: {error}")) }
    }
}

impl Program {
    pub(super) fn perform(&mut self, step: Step) -> Result<(), Stop> {
        match step {
            Step::Say(text) => self.wire.say(&text),
            Step::Run(command) => {
                let free = self.commands_allowed || command == "ls";
                self.command(&command, !free)?;
            }
            Step::Ask(command) => self.command(&command, true)?,
            Step::Read(path) => {
                let input = json!({"file_path": self.directory.join(&path)});
                self.tool("Read", input, false, |program, input| Ok(read(program, input)))?;
            }
            Step::Replace { path, old, new } => {
                let input = json!({"file_path": self.directory.join(path), "old_string": old, "new_string": new});
                let ask = !self.edits_allowed;
                self.tool("Edit", input, ask, |_, input| {
                    let path = field(input, "file_path");
                    Ok(edited(edit::replace(path.as_ref(), field(input, "old_string"), field(input, "new_string"))))
                })?;
            }
            Step::Append { path, text } => {
                let input = json!({"file_path": self.directory.join(path), "content": text});
                let ask = !self.edits_allowed;
                self.tool("Write", input, ask, |_, input| {
                    Ok(edited(edit::append(field(input, "file_path").as_ref(), field(input, "content"))))
                })?;
            }
            Step::Question => self.question()?,
            Step::Sleep(time) => self.pause(time)?,
            Step::Output(bytes) => {
                let mut left = bytes;
                while left > 0 {
                    let part = left.min(OUTPUT_PART);
                    self.command(&format!("head -c {part} /dev/zero | tr '\\0' x"), false)?;
                    left -= part;
                }
            }
            Step::Events(count, Some(rate)) => {
                let started = Instant::now();
                for number in 1..=count {
                    let due = started + Duration::from_secs_f64(f64::from(number) / rate);
                    self.pause(due.saturating_duration_since(Instant::now()))?;
                    self.wire.assistant(json!({"type": "text", "text": format!("Event {number} of {count}.")}));
                }
            }
            Step::Events(count, None) => self.wire.flood(u64::from(count), |out, number| {
                let text = format!("Event {} of {count}.", number + 1);
                let before = r#"{"type":"assistant","message":{"model":"demo","content":[{"type":"text","text":""#;
                write!(out, "{before}{text}\"}}]}}}}")
            }),
            Step::Words(count) => self.wire.flood(u64::from(count), |out, _| {
                out.write_all(br#"{"type":"stream_event","event":{"delta":{"type":"text_delta","text":"word "}}}"#)
            }),
            Step::Line(bytes) => self.wire.flood(1, |out, _| {
                out.write_all(br#"{"type":"assistant","message":{"model":"demo","content":[{"type":"text","text":""#)?;
                std::io::copy(&mut std::io::repeat(b'x').take(bytes), out)?;
                out.write_all(br#""}]}}"#)
            }),
            Step::Noise(bytes) => {
                let line = "noise ".repeat(170);
                self.wire.flood(bytes / (line.len() as u64 + 1), |out, _| out.write_all(line.as_bytes()));
            }
            Step::Stderr(bytes) => {
                // A reader that is gone is told by the other pipe.
                let lines = format!("{}\n", "stderr ".repeat(145));
                let chunk = lines.repeat(64);
                for _ in 0..bytes / chunk.len() as u64 {
                    drop(std::io::stderr().write_all(chunk.as_bytes()));
                }
            }
            Step::InvalidUtf8 => {
                let line = br#"{"type":"assistant","message":{"model":"demo","content":[{"type":"text","text":"Not UTF-8: @"}]}}"#;
                let line: Vec<u8> = line.iter().map(|&byte| if byte == b'@' { 0xff } else { byte }).collect();
                self.wire.bytes(&line);
            }
            Step::Daemonize => {
                let program = std::env::current_exe().unwrap_or_default();
                let program = program.display().to_string().replace('\'', r"'\''");
                // Two commands, so that the shell does not become the program: a group's leader gets no new session.
                self.command(&format!("'{program}' demo-agent {DAEMON} && echo left behind"), false)?;
            }
            Step::Spend(usd) => {
                self.cost += usd;
                self.check_budget()?;
            }
            Step::Overspend(usd) => {
                self.cost += usd;
                self.keeps_budget = false;
                self.wire.line(json!({"type": "system", "subtype": "cost", "total_cost_usd": self.cost}));
            }
            Step::Tokens(count) => {
                self.tokens += u64::from(count);
                self.priced = false;
            }
            Step::Limited(seconds) => {
                let passed = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() + u64::from(seconds);
                let info = json!({"status": "rejected", "resetsAt": passed});
                self.wire.line(json!({"type": "rate_limit_event", "rate_limit_info": info}));
                return Err(Stop::Limited);
            }
            Step::Fail => return Err(Stop::Failed),
            // Not even an interrupt is heard.
            Step::Hang => loop {
                std::thread::park();
            },
        }
        Ok(())
    }

    fn command(&mut self, command: &str, ask: bool) -> Result<(), Stop> {
        self.tool("Bash", json!({"command": command}), ask, |program, input| program.execute(field(input, "command")))
    }

    /// Uses a tool, after asking for permission where it is needed.
    fn tool(
        &mut self,
        name: &str,
        input: Value,
        ask: bool,
        work: impl FnOnce(&mut Self, &Value) -> Result<ToolResult, Stop>,
    ) -> Result<(), Stop> {
        self.count_tool()?;
        let id = self.next_id("toolu");
        self.wire.assistant(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        let allowed = if ask { self.ask(name, &id, &input)? } else { Ok(input.clone()) };
        match allowed {
            Ok(input) => {
                let ToolResult { content, is_error, details } = work(self, &input)?;
                self.wire.tool_result(&id, &content, is_error, details);
            }
            Err(reason) => {
                self.denials.push(json!({"tool_name": name, "tool_use_id": id, "tool_input": input}));
                self.wire.tool_result(&id, &reason, true, json!(format!("Error: {reason}")));
            }
        }
        Ok(())
    }

    /// Asks for permission. Gives the input as it shall be, or why it is denied.
    fn ask(&mut self, tool: &str, tool_use_id: &str, input: &Value) -> Result<Result<Value, String>, Stop> {
        let request_id = self.next_id("request");
        let suggestion = match tool {
            "Bash" => json!({
                "type": "addRules", "rules": [{"toolName": "Bash"}], "behavior": "allow",
                "destination": "localSettings",
            }),
            _ => json!({"type": "setMode", "mode": "acceptEdits", "destination": "session"}),
        };
        let suggestions = if tool == "AskUserQuestion" { json!([]) } else { json!([suggestion]) };
        self.wire.bytes(
            json!({
                "type": "control_request", "request_id": request_id,
                "request": {
                    "subtype": "can_use_tool", "tool_name": tool, "input": input, "tool_use_id": tool_use_id,
                    "permission_suggestions": suggestions,
                },
            })
            .to_string()
            .as_bytes(),
        );
        let response = loop {
            if let Some(index) = self.answers.iter().position(|(id, _)| *id == request_id) {
                break self.answers.swap_remove(index).1;
            }
            if self.closed {
                // Nobody can answer any more; a later process asks again.
                std::process::exit(1);
            }
            if let Err(stop) = self.listen(None) {
                let cancel = json!({"type": "control_cancel_request", "request_id": request_id});
                self.wire.bytes(cancel.to_string().as_bytes());
                self.denials.push(json!({"tool_name": tool, "tool_use_id": tool_use_id, "tool_input": input}));
                return Err(stop);
            }
        };
        if response["behavior"] != "allow" {
            return Ok(Err(response["message"].as_str().unwrap_or("denied").to_owned()));
        }
        for permission in response["updatedPermissions"].as_array().into_iter().flatten() {
            match permission["type"].as_str() {
                Some("setMode") => self.edits_allowed = true,
                Some("addRules") => self.commands_allowed = true,
                _ => {}
            }
        }
        Ok(Ok(response["updatedInput"].clone()))
    }

    fn question(&mut self) -> Result<(), Stop> {
        let options = json!([
            {"label": "left", "description": "The way on the left."},
            {"label": "right", "description": "The way on the right."},
        ]);
        let question = json!({"question": "Which way?", "header": "Way", "multiSelect": false, "options": options});
        let mut answer = None;
        self.tool("AskUserQuestion", json!({"questions": [question]}), true, |_, input| {
            let chosen = input["answers"]["Which way?"].as_str().unwrap_or("neither").to_owned();
            let content = format!("Your questions have been answered: \"Which way?\"=\"{chosen}\".");
            answer = Some(chosen);
            Ok(ToolResult { content, is_error: false, details: input.clone() })
        })?;
        if let Some(answer) = answer {
            self.wire.say(&format!("I go this way: {answer}."));
        }
        Ok(())
    }

    /// Runs a command in the workspace, listening meanwhile.
    fn execute(&mut self, command: &str) -> Result<ToolResult, Stop> {
        match self.run_command(command)? {
            Ok((0, output)) => {
                let details = json!({"stdout": output, "stderr": "", "interrupted": false});
                Ok(ToolResult { content: output, is_error: false, details })
            }
            Ok((code, output)) => {
                let content = format!("Exit code {code}\n{output}");
                let details = json!(format!("Error: {content}"));
                Ok(ToolResult { content, is_error: true, details })
            }
            Err(error) => Ok(ToolResult::failed(&error.to_string())),
        }
    }

    fn run_command(&mut self, command: &str) -> Result<std::io::Result<(i32, String)>, Stop> {
        // A file, not a pipe: what the command leaves behind may keep it open.
        let started = tempfile::tempfile().and_then(|file| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", command]).current_dir(&self.directory).process_group(0);
            shell.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?);
            Ok((shell.spawn()?, file))
        });
        let (mut child, mut file) = match started {
            Ok(started) => started,
            Err(error) => return Ok(Err(error)),
        };
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(error) => return Ok(Err(error)),
            }
            if let Err(stop) = self.pause(Duration::from_millis(5)) {
                if let Ok(group) = i32::try_from(child.id()) {
                    // Fails where it ended just now.
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                }
                drop(child.wait());
                return Err(stop);
            }
        };
        let mut output = Vec::new();
        let read = file.rewind().and_then(|()| file.take(MAX_OUTPUT).read_to_end(&mut output));
        let text = String::from_utf8_lossy(&output).trim_end().to_owned();
        Ok(read.map(|_| (status.code().unwrap_or(128), text)))
    }
}

fn field<'a>(input: &'a Value, name: &str) -> &'a str {
    input[name].as_str().unwrap_or_default()
}

fn read(_: &mut Program, input: &Value) -> ToolResult {
    match std::fs::read_to_string(field(input, "file_path")) {
        Ok(text) => ToolResult { content: text, is_error: false, details: json!({"type": "text"}) },
        Err(error) => ToolResult::failed(&error.to_string()),
    }
}

fn edited(edit: Result<Edited, String>) -> ToolResult {
    match edit {
        Ok(Edited { details }) => ToolResult { content: "The file has been updated.".into(), is_error: false, details },
        Err(error) => ToolResult::failed(&error),
    }
}

/// Leaves a process behind that has a session of its own and whose parent is gone, and prints its id.
pub fn daemon() -> ExitCode {
    if let Err(error) = nix::unistd::setsid() {
        eprintln!("cadence demo-agent: no session of its own: {error}");
    }
    let sleep = Command::new("sleep")
        .arg(DAEMON_LIFE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    match sleep {
        Ok(child) => {
            println!("daemon {}", child.id());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cadence demo-agent: sleep: {error}");
            ExitCode::FAILURE
        }
    }
}
