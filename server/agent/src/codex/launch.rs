//! How Codex is found and started.

use std::path::{Path, PathBuf};

use cadence_protocol::PermissionMode;
use serde_json::{Value, json};

use super::NAME;
use crate::agent::{AgentError, Launch, SessionStart};
use crate::host::{HostSpec, marker};
use crate::program::{Program, checked};

/// Variable that names the program, where it is not the `codex` of `PATH`.
pub const PROGRAM_VARIABLE: &str = "CADENCE_CODEX";
const INSTALL: &str = "npm install -g @openai/codex";

/// Codex's sandbox for commands: reading anywhere, writing nowhere, no network.
const READ_ONLY: &str = "read-only";

pub fn program() -> Program {
    Program { agent: NAME, name: NAME.to_owned(), variable: Some(PROGRAM_VARIABLE), install: INSTALL.to_owned() }
}

/// What the host shall run. The prompt and the model go through stdin.
pub fn spec(launch: &Launch, program: PathBuf) -> Result<HostSpec, AgentError> {
    if let Some(model) = launch.model.as_deref().filter(|model| !model.is_empty()) {
        checked(NAME, "model", model)?;
    }
    if let SessionStart::Resume(session) = &launch.session {
        checked(NAME, "session", session)?;
    }
    let mut env = launch.environment.clone();
    env.remove(PROGRAM_VARIABLE);
    Ok(HostSpec {
        program,
        args: arguments(&launch.directory),
        cwd: launch.directory.clone(),
        lock: launch.lock.clone(),
        env,
        marker: marker(launch.task_id, launch.attempt),
        bounds: launch.bounds.clone(),
    })
}

/// Only the user's own settings are read: those of the repository (`.codex/config.toml`) could allow commands and start
/// servers, and so widen what the task's permission mode says; Codex leaves them out where the project is not trusted. The
/// whole table is given, because in a dotted path (`projects."/a.b".trust_level`) Codex splits at the dot of the directory.
///
/// A session begins read-only, and each turn brings its own sandbox: for one that begins with more, Codex would note in the
/// user's settings that it trusts the workspace.
fn arguments(directory: &Path) -> Vec<String> {
    let directory = toml::Value::String(directory.display().to_string());
    vec![
        "app-server".to_owned(),
        format!("--config=projects={{{directory}={{trust_level=\"untrusted\"}}}}"),
        format!("--config=sandbox_mode=\"{READ_ONLY}\""),
    ]
}

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    pub directory: PathBuf,
    pub session: SessionStart,
    pub model: Option<String>,
    pub permission: PermissionMode,
    pub budget_usd: Option<f64>,
    pub max_turns: Option<u32>,
}

pub fn plan(launch: &Launch) -> Plan {
    Plan {
        directory: launch.directory.clone(),
        session: launch.session.clone(),
        model: launch.model.clone().filter(|model| !model.is_empty()),
        permission: launch.permission,
        budget_usd: launch.budget_usd,
        max_turns: launch.max_turns,
    }
}

impl Plan {
    /// When Codex asks: before all but what it knows to be reading, or before what its sandbox does not allow.
    pub fn approval_policy(&self) -> &'static str {
        match self.permission {
            PermissionMode::Ask => "untrusted",
            PermissionMode::Edits | PermissionMode::All => "on-request",
        }
    }

    /// What commands and edits may do without asking. In the mode `all`, cadence answers each request with allow; nothing
    /// bypasses the sandbox or the requests.
    pub fn sandbox_policy(&self) -> Value {
        match self.permission {
            PermissionMode::Ask => json!({"type": "readOnly", "networkAccess": false}),
            // Temporary files included, as for whoever uses Codex by hand: builds need them.
            PermissionMode::Edits | PermissionMode::All => json!({
                "type": "workspaceWrite", "writableRoots": [], "networkAccess": false,
                "excludeTmpdirEnvVar": false, "excludeSlashTmp": false,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;

    fn launch() -> Launch {
        Launch {
            task_id: Uuid::nil(),
            attempt: 2,
            directory: "/w.d/re\"po".into(),
            prompt: "secret prompt".into(),
            prompt_id: Uuid::nil(),
            session: SessionStart::Resume("5c0b-1".into()),
            model: Some("gpt-6.1".into()),
            permission: PermissionMode::All,
            budget_usd: Some(0.5),
            max_turns: Some(3),
            environment: BTreeMap::from([
                ("PATH".into(), "/bin".into()),
                (PROGRAM_VARIABLE.into(), "/bin/codex".into()),
            ]),
            host: "/bin/cadence".into(),
            bounds: crate::sandbox::Bounds::default(),
            lock: None,
            raw_log: None,
        }
    }

    #[test]
    fn a_whole_command_line() {
        let spec = spec(&launch(), "/bin/codex".into()).unwrap();
        insta::assert_debug_snapshot!(spec.args, @r#"
        [
            "app-server",
            "--config=projects={'/w.d/re\"po'={trust_level=\"untrusted\"}}",
            "--config=sandbox_mode=\"read-only\"",
        ]
        "#);
        assert_eq!(spec.marker, "00000000-0000-0000-0000-000000000000:2");
        assert_eq!(spec.env.keys().map(String::as_str).collect::<Vec<_>>(), ["PATH"]);
        // As Codex reads it.
        let value: toml::Table = spec.args[1].strip_prefix("--config=").unwrap().parse().unwrap();
        assert_eq!(value["projects"]["/w.d/re\"po"]["trust_level"].as_str(), Some("untrusted"));
    }

    #[test]
    fn no_mode_bypasses_permissions() {
        for permission in PermissionMode::ALL {
            let plan = plan(&Launch { permission: *permission, ..launch() });
            assert_ne!(plan.approval_policy(), "never");
            assert!(!plan.sandbox_policy().to_string().contains("danger"));
        }
    }

    #[test]
    fn names_that_look_like_flags_are_refused() {
        for bad in ["--yolo", "a b", "x\ny"] {
            assert!(spec(&Launch { model: Some(bad.into()), ..launch() }, "/c".into()).is_err(), "{bad}");
            assert!(spec(&Launch { session: SessionStart::Resume(bad.into()), ..launch() }, "/c".into()).is_err());
        }
    }
}
