//! Where the real Claude Code CLI is.

use std::env::consts::{ARCH, OS};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The CLI's program: `CADENCE_TEST_CLAUDE`, or what `make tools` installed.
///
/// # Panics
/// When it is not there, with what to do.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("CADENCE_TEST_CLAUDE") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "CADENCE_TEST_CLAUDE names {}, which is not a file", path.display());
        return path;
    }
    let arch = if ARCH == "aarch64" { "arm64" } else { "x64" };
    let os = if OS == "macos" { "darwin" } else { OS };
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/claude/node_modules/@anthropic-ai");
    let names = [format!("claude-code-{os}-{arch}"), format!("claude-code-{os}-{arch}-musl")];
    let found = names.iter().map(|name| modules.join(name).join("claude")).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "the Claude Code CLI is not in {}: install it with `make tools`, or name one in CADENCE_TEST_CLAUDE",
            modules.display()
        )
    })
}

/// Settings that keep the CLI to itself, and bound its retries.
pub fn quiet() -> impl Iterator<Item = (String, Value)> {
    let names = ["DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"];
    let switches = names.into_iter().map(|name| (name.to_owned(), Value::from("1")));
    switches.chain([("CLAUDE_CODE_MAX_RETRIES".to_owned(), Value::from("2"))])
}
