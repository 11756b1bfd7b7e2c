//! How OpenCode is set up.

use cadence_protocol::PermissionMode;
use serde_json::json;

use crate::program::Program;

pub const NAME: &str = "opencode";
/// Variable that names the program, where it is not the `opencode` of `PATH`.
const PROGRAM_VARIABLE: &str = "CADENCE_OPENCODE";
const INSTALL: &str = "npm install -g opencode-ai";

pub fn program() -> Program {
    Program { agent: NAME, name: NAME.to_owned(), variable: Some(PROGRAM_VARIABLE), install: INSTALL.to_owned() }
}

/// By its own settings, OpenCode asks for nothing. In the mode `all`, cadence answers each request with allow. Settings of
/// the repository are not read: they could load plugins and start servers.
pub fn environment(permission: PermissionMode) -> Vec<(&'static str, String)> {
    let edit = match permission {
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
    vec![
        ("OPENCODE_PERMISSION", permissions.to_string()),
        ("OPENCODE_DISABLE_PROJECT_CONFIG", "1".to_owned()),
        ("OPENCODE_DISABLE_AUTOUPDATE", "1".to_owned()),
    ]
}
