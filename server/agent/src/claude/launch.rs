//! How Claude Code is found and started.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cadence_protocol::PermissionMode;

use super::NAME;
use crate::agent::{AgentError, Launch, SessionStart};
use crate::host::{HostSpec, marker};
use crate::program::{Program, checked};

/// Variable that names the program, where it is not the `claude` of `PATH`.
pub const PROGRAM_VARIABLE: &str = "CADENCE_CLAUDE";
const INSTALL: &str = "npm install -g @anthropic-ai/claude-code";

/// Variables that never reach the agent: `IS_SANDBOX` unlocks the bypass of permissions, the others would make it believe
/// that it runs inside another session.
const REMOVED: [&str; 4] = ["IS_SANDBOX", "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", PROGRAM_VARIABLE];

pub fn program() -> Program {
    Program { agent: NAME, name: NAME.to_owned(), variable: Some(PROGRAM_VARIABLE), install: INSTALL.to_owned() }
}

/// What the host shall run. The prompt goes through stdin, never onto the command line.
pub fn spec(launch: &Launch, program: PathBuf) -> Result<HostSpec, AgentError> {
    Ok(HostSpec {
        program,
        args: arguments(launch)?,
        cwd: launch.directory.clone(),
        lock: launch.lock.clone(),
        env: environment(launch),
        marker: marker(launch.task_id, launch.attempt),
        bounds: launch.bounds.clone(),
    })
}

fn environment(launch: &Launch) -> BTreeMap<String, String> {
    let mut environment = launch.environment.clone();
    environment.retain(|name, _| !REMOVED.contains(&name.as_str()));
    environment.insert("DISABLE_AUTOUPDATER".into(), "1".into());
    environment.insert("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD".into(), "1".into());
    environment
}

/// Only the user's own settings are read (`--setting-sources user`): those of the repository could allow tools, run hooks
/// and start servers, and so widen what the task's permission mode says. The repository's `CLAUDE.md` is read all the
/// same, because the workspace is also named as an additional directory whose memory counts.
fn arguments(launch: &Launch) -> Result<Vec<String>, AgentError> {
    let mut arguments: Vec<String> = [
        "-p",
        "--input-format=stream-json",
        "--output-format=stream-json",
        "--verbose",
        "--include-partial-messages",
        "--replay-user-messages",
        "--permission-prompt-tool=stdio",
        "--setting-sources=user",
        // The work is fetched from the workspace; nothing is to leave it by itself. Denials hold in every mode.
        "--disallowedTools=Bash(git push *)",
    ]
    .map(str::to_owned)
    .into();
    // In the mode `all`, cadence answers each request with allow; there is no flag that bypasses them.
    let mode = match launch.permission {
        PermissionMode::Ask => "default",
        PermissionMode::Edits | PermissionMode::All => "acceptEdits",
    };
    arguments.push(format!("--permission-mode={mode}"));
    arguments.push(format!("--add-dir={}", launch.directory.display()));
    arguments.push(match &launch.session {
        SessionStart::New(id) => format!("--session-id={id}"),
        SessionStart::Resume(session) => format!("--resume={}", checked(NAME, "session", session)?),
    });
    if let Some(model) = launch.model.as_deref().filter(|model| !model.is_empty()) {
        arguments.push(format!("--model={}", checked(NAME, "model", model)?));
    }
    if let Some(turns) = launch.max_turns {
        arguments.push(format!("--max-turns={turns}"));
    }
    if let Some(budget) = launch.budget_usd {
        if !budget.is_finite() || budget <= 0.0 {
            return Err(refuse(format!("a budget of {budget} USD leaves nothing to spend")));
        }
        arguments.push(format!("--max-budget-usd={budget}"));
    }
    Ok(arguments)
}

fn refuse(reason: String) -> AgentError {
    AgentError::Start { agent: NAME, reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use uuid::Uuid;

    use super::*;

    fn launch() -> Launch {
        Launch {
            task_id: Uuid::nil(),
            attempt: 2,
            directory: "/w/repo".into(),
            prompt: "secret prompt".into(),
            prompt_id: Uuid::nil(),
            session: SessionStart::Resume("5c0b-1".into()),
            model: Some("sonnet".into()),
            permission: PermissionMode::All,
            budget_usd: Some(0.5),
            max_turns: Some(3),
            environment: BTreeMap::from([
                ("PATH".into(), "/bin".into()),
                ("IS_SANDBOX".into(), "1".into()),
                ("CLAUDECODE".into(), "1".into()),
            ]),
            host: "/bin/cadence".into(),
            lock: None,
            raw_log: None,
            bounds: crate::sandbox::Bounds::default(),
        }
    }

    #[test]
    fn a_whole_command_line() {
        let spec = spec(&launch(), "/bin/claude".into()).unwrap();
        insta::assert_debug_snapshot!(spec.args);
        assert!(!spec.args.concat().contains("secret"));
        assert_eq!(spec.marker, "00000000-0000-0000-0000-000000000000:2");
        let names: Vec<_> = spec.env.keys().map(String::as_str).collect();
        assert_eq!(names, ["CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "DISABLE_AUTOUPDATER", "PATH"]);
    }

    #[test]
    fn no_mode_bypasses_permissions() {
        for permission in PermissionMode::ALL {
            let spec = spec(&Launch { permission: *permission, ..launch() }, "/bin/claude".into()).unwrap();
            assert!(!spec.args.concat().contains("bypass") && !spec.args.concat().contains("skip"));
        }
    }

    #[test]
    fn names_that_look_like_flags_are_refused() {
        for bad in ["--dangerously-skip-permissions", "a b", "x\ny"] {
            assert!(spec(&Launch { model: Some(bad.into()), ..launch() }, "/c".into()).is_err(), "{bad}");
            assert!(spec(&Launch { session: SessionStart::Resume(bad.into()), ..launch() }, "/c".into()).is_err());
        }
        assert!(spec(&Launch { budget_usd: Some(0.0), ..launch() }, "/c".into()).is_err());
    }
}
