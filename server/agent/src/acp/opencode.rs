//! How OpenCode is set up.

use cadence_protocol::PermissionMode;
use serde_json::json;

use crate::agent::Launch;
use crate::program::Program;

pub const NAME: &str = "opencode";
/// Variable that names the program, where it is not the `opencode` of `PATH`.
const PROGRAM_VARIABLE: &str = "CADENCE_OPENCODE";
/// Variable that holds settings beside those of files.
const CONTENT_VARIABLE: &str = "OPENCODE_CONFIG_CONTENT";
const INSTALL: &str = "npm install -g opencode-ai";

pub fn program() -> Program {
    Program { agent: NAME, name: NAME.to_owned(), variable: Some(PROGRAM_VARIABLE), install: INSTALL.to_owned() }
}

/// By its own settings, OpenCode asks for nothing. In the mode `all`, cadence answers each request with allow. Settings of
/// the repository are not read: they could load plugins and start servers. What it tells agents in words is read all the same,
/// which OpenCode would leave out with them.
pub fn environment(launch: &Launch) -> Vec<(&'static str, String)> {
    let edit = match launch.permission {
        PermissionMode::Ask => "ask",
        PermissionMode::Edits | PermissionMode::All => "allow",
    };
    let permissions = json!({
        "edit": edit,
        // The work is fetched from the workspace; nothing is to leave it by itself.
        "bash": {"*": "ask", "git push": "deny", "git push *": "deny"},
        "webfetch": "ask",
        "external_directory": "ask",
        "doom_loop": "ask",
    });
    let mut variables = vec![
        ("OPENCODE_PERMISSION", permissions.to_string()),
        ("OPENCODE_DISABLE_PROJECT_CONFIG", "1".to_owned()),
        ("OPENCODE_DISABLE_AUTOUPDATE", "1".to_owned()),
    ];
    let words = ["AGENTS.md", "CLAUDE.md"].map(|name| launch.directory.join(name));
    // One of the user's own is not replaced.
    if let Some(words) = words.iter().find(|path| path.is_file())
        && !launch.environment.contains_key(CONTENT_VARIABLE)
    {
        variables.push((CONTENT_VARIABLE, json!({"instructions": [words]}).to_string()));
    }
    variables
}
