//! `cadence doctor`: whether what is needed is there.

mod isolation;
mod voice;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cadence_agent::git::OLDEST;
use cadence_agent::host::has_control_groups;
use cadence_agent::{Agent, AgentError, acp::Acp, claude::Claude, codex::Codex, demo::Demo};
use serde::Serialize;
use tokio::process::Command;

use super::verify;
use crate::checkout;
use crate::client::{Client, Rest, embedded};
use crate::config::{Settings, process_environment};
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{BOLD, DIM, GREEN, Line, PLAIN, RED, YELLOW};
use crate::terminal::Terminal;
use crate::text;

const PATIENCE: Duration = Duration::from_secs(10);
/// Less free space than this is a warning, in bytes.
const LITTLE: u64 = 1_000_000_000;
/// Less than this is a failure: a workspace and its events do not fit.
const NONE: u64 = 50_000_000;

/// Check whether everything that cadence needs is there
///
/// Ends with code 1 when something essential is missing: git, the agent that tasks use, a place for the data, or settings
/// that can be read.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cadence doctor\n  cadence doctor --verify\n  cadence doctor --json | jq '.checks[] | select(.state != \"ok\")'"
)]
pub struct Args {
    /// Check the data instead: every promise about tasks, events, approvals, workspaces and processes
    ///
    /// Reads the data of the server on this machine, running or not, and changes nothing. Ends with code 1 when something
    /// is not as it has to be.
    #[arg(long)]
    verify: bool,
    /// With --verify: the data of another server [default: that of the embedded one]
    #[arg(long, value_name = "DIR", requires = "verify", value_hint = clap::ValueHint::DirPath)]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// It works without, but not everything does.
    Warning,
    /// Something essential is missing.
    Failed,
}

#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl AsRef<str>) -> Self {
        Self { name, state, found: text::clean_line(found.as_ref()), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

pub async fn run(
    settings: Result<Settings, CommandError>,
    terminal: Terminal,
    json: bool,
    args: Args,
) -> CommandResult {
    if args.verify {
        return verify::run(&settings?.data_dir, terminal, json).await;
    }
    let mut checks = vec![git().await];
    let default = settings.as_ref().ok().and_then(|settings| settings.agent.clone()).unwrap_or_else(|| "claude".into());
    let environment: BTreeMap<String, String> = checkout::environment().collect();
    checks.push(agent("claude", &Claude, &environment, default == "claude").await);
    checks.push(agent("codex", &Codex, &environment, default == "codex").await);
    checks.push(agent("opencode", &Acp::opencode(), &environment, default == "opencode").await);
    checks.push(agent("demo agent", &Demo, &environment, default == "demo").await);
    for (name, command) in settings.iter().flat_map(|settings| &settings.agents) {
        if let Ok(own) = Acp::new(name, command) {
            checks.push(agent(own.name(), &own, &environment, default == *name).await);
        }
    }
    checks.push(processes());
    checks.push(keys(&environment));
    match &settings {
        Ok(settings) => {
            checks.push(Check::new("settings", State::Ok, found_settings(&settings.path)));
            checks.push(server(settings).await);
            checks.extend(isolation::checks(&settings.policy));
            checks.push(disk(&settings.data_dir));
            checks.push(database(&settings.data_dir).await);
            checks.extend(voice::checks(settings).await);
        }
        Err(error) => {
            let check = Check::new("settings", State::Failed, error.message());
            checks.push(match error.hints().first() {
                Some(hint) => check.hint(hint.clone()),
                None => check,
            });
        }
    }
    checks.push(screen(terminal));
    checks.push(build());
    let failed = checks.iter().any(|check| check.state == State::Failed);
    if json {
        terminal.json(&serde_json::json!({
            "ok": !failed, "version": env!("CARGO_PKG_VERSION"), "checks": checks,
        }))?;
    } else {
        terminal.print(&lines(&checks))?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn lines(checks: &[Check]) -> Vec<Line> {
    let mut lines = Vec::new();
    let width = checks.iter().map(|check| check.name.len() + 1).fold(12, usize::max);
    for check in checks {
        let (style, mark) = match check.state {
            State::Ok => (GREEN, "✓"),
            State::Warning => (YELLOW, "!"),
            State::Failed => (RED, "✗"),
        };
        lines.push(
            Line::of(style, format!("{mark} ")).add(BOLD, format!("{:<width$}", check.name)).add(PLAIN, &check.found),
        );
        if let Some(hint) = &check.hint {
            lines.push(Line::of(DIM, format!("{:1$}{hint}", "", width + 2)));
        }
    }
    lines
}

async fn git() -> Check {
    let call = Command::new("git").arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(output)) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            return Check::new("git", State::Failed, "git was not found")
                .hint("Install it: apt-get install git, or xcode-select --install");
        }
    };
    let found = output.trim().trim_start_matches("git version ").to_owned();
    if git_version(&found).is_some_and(|version| version < OLDEST) {
        let hint = format!("At least {}.{} is needed.", OLDEST.0, OLDEST.1);
        return Check::new("git", State::Failed, found).hint(hint);
    }
    Check::new("git", State::Ok, found)
}

fn git_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

async fn agent(
    name: &'static str,
    agent: &dyn Agent,
    environment: &BTreeMap<String, String>,
    essential: bool,
) -> Check {
    let missing = if essential { State::Failed } else { State::Warning };
    match agent.probe(environment).await {
        Ok(probe) => Check::new(name, State::Ok, format!("{} at {}", probe.version, probe.program.display())),
        Err(AgentError::Missing { program, hint, .. }) => {
            Check::new(name, missing, format!("{program} was not found")).hint(hint)
        }
        Err(error) => Check::new(name, missing, error.to_string()),
    }
}

/// How what an agent leaves running is ended.
fn processes() -> Check {
    if has_control_groups() {
        return Check::new("processes", State::Ok, "each agent in a control group of its own");
    }
    let check = Check::new("processes", State::Ok, "found by walking the process tree");
    if cfg!(target_os = "linux") {
        check.hint("Where cgroup v2 is delegated, agents get control groups.")
    } else {
        check
    }
}

/// Which keys are there, never what they are.
fn keys(environment: &BTreeMap<String, String>) -> Check {
    const NAMES: [&str; 6] = [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "OPENAI_API_KEY",
        "DEEPGRAM_API_KEY",
        "GITHUB_TOKEN",
    ];
    let found: Vec<&str> =
        NAMES.into_iter().filter(|name| environment.get(*name).is_some_and(|value| !value.is_empty())).collect();
    if found.is_empty() {
        return Check::new("keys", State::Warning, "none in the environment")
            .hint("Not needed where `claude` is logged in; else set ANTHROPIC_API_KEY.");
    }
    Check::new("keys", State::Ok, found.join(", "))
}

fn found_settings(path: &Path) -> String {
    if path.exists() { path.display().to_string() } else { format!("{} (not there, not needed)", path.display()) }
}

async fn server(settings: &Settings) -> Check {
    let Some(url) = &settings.server else {
        return match embedded::find(settings).await {
            Ok(Some((server, endpoint))) => {
                let found = format!("{} version {}", server.url, server.version);
                match Rest::new(endpoint) {
                    Ok(rest) => ready(&rest, found).await,
                    Err(error) => Check::new("server", State::Failed, error.message()),
                }
            }
            Ok(None) => Check::new("server", State::Ok, "not running; it is started on demand"),
            Err(error) => Check::new("server", State::Failed, error.message()),
        };
    };
    let asked = async {
        let rest = Client::connect(settings).await?.rest()?;
        let me = rest.me().await?;
        Ok::<_, CommandError>(ready(&rest, format!("{url} as {}", me.name)).await)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(check)) => check,
        Ok(Err(error)) => {
            let check = Check::new("server", State::Failed, error.message());
            match error.hints().first() {
                Some(hint) => check.hint(hint.clone()),
                None => check,
            }
        }
        Err(_) => Check::new("server", State::Failed, format!("{url} does not answer")),
    }
}

/// A server that answers, and whether it can store what happens.
async fn ready(rest: &Rest, found: String) -> Check {
    match rest.ready(PATIENCE).await {
        Ok(()) => Check::new("server", State::Ok, found),
        Err(error) => Check::new("server", State::Failed, format!("{found}: {}", error.message()))
            .hint("Its log says more: `cadence server logs`."),
    }
}

/// Whether the database can be read, and what is to be done where it cannot.
async fn database(data: &Path) -> Check {
    let path = data.join(cadence_server::store::FILE);
    match cadence_server::backup::glance(&path).await {
        Ok(None) => Check::new("database", State::Ok, "not there yet; the first task makes it"),
        Ok(Some(_)) if nix::unistd::access(&path, nix::unistd::AccessFlags::W_OK).is_err() => {
            Check::new("database", State::Failed, format!("{} cannot be written", path.display()))
                .hint("Give yourself the right to write it: chmod u+w, or remount its file system.")
        }
        Ok(Some((size, schema))) => {
            Check::new("database", State::Ok, format!("{}, version {schema} of the schema", text::bytes(size)))
        }
        Err(error) => {
            let check = Check::new("database", State::Failed, format!("{}: {error}", path.display()));
            match error.hint() {
                Some(hint) => check.hint(hint),
                None => check,
            }
        }
    }
}

fn disk(data: &Path) -> Check {
    // The directory itself may be made later.
    let place = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if nix::unistd::access(place, nix::unistd::AccessFlags::W_OK).is_err() {
        return Check::new("data", State::Failed, format!("{} cannot be written", data.display()))
            .hint("Name another directory with CADENCE_DATA_DIR.");
    }
    let Ok(space) = nix::sys::statvfs::statvfs(place) else {
        return Check::new("data", State::Warning, format!("{}, free space unknown", data.display()));
    };
    let free = wide(space.blocks_available()).saturating_mul(wide(space.fragment_size()));
    let found = format!("{}, {} free", data.display(), text::bytes(free));
    match free {
        0..NONE => Check::new("data", State::Failed, found).hint("Make some room: workspaces and events need it."),
        NONE..LITTLE => Check::new("data", State::Warning, found).hint("Workspaces may soon not fit any more."),
        _ => Check::new("data", State::Ok, found),
    }
}

/// These counts are narrower on some systems.
fn wide(value: impl Into<u64>) -> u64 {
    value.into()
}

fn screen(terminal: Terminal) -> Check {
    let kind = process_environment("TERM").and_then(|term| term.into_string().ok()).unwrap_or_else(|| "none".into());
    let asks = if terminal.asks { "questions are asked" } else { "no questions are asked" };
    let color = if terminal.color { "colour" } else { "no colour" };
    Check::new("terminal", State::Ok, format!("{kind}, {color}, {asks}"))
}

/// What was compiled into this program.
fn build() -> Check {
    let back_ends =
        [(cfg!(feature = "cuda"), "CUDA"), (cfg!(feature = "vulkan"), "Vulkan"), (cfg!(feature = "metal"), "Metal")];
    let on: Vec<&str> = back_ends.into_iter().filter_map(|(there, name)| there.then_some(name)).collect();
    let microphone = if cfg!(feature = "voice") { "microphone" } else { "no microphone" };
    let local = match (cfg!(feature = "local"), on.as_slice()) {
        (false, _) => "no local speech engine".to_owned(),
        (true, []) => "local speech engine on the processor".to_owned(),
        (true, on) => format!("local speech engine on {}", on.join(" or ")),
    };
    Check::new("build", State::Ok, format!("{} with {microphone}, {local}", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::render::plain;

    #[test]
    fn checks_are_lines() {
        let checks = [
            Check::new("git", State::Ok, "2.47.3"),
            Check::new("claude", State::Failed, "claude was not found")
                .hint("npm install -g @anthropic-ai/claude-code"),
            Check::new("keys", State::Warning, "none"),
        ];
        insta::assert_snapshot!(plain(&lines(&checks)), @r#"
        ✓ git         2.47.3
        ✗ claude      claude was not found
                      npm install -g @anthropic-ai/claude-code
        ! keys        none
        "#);
    }

    #[test]
    fn keys_are_named_and_never_shown() {
        let environment = BTreeMap::from([
            ("ANTHROPIC_API_KEY".to_owned(), "sk-secret".to_owned()),
            ("OPENAI_API_KEY".to_owned(), String::new()),
        ]);
        let check = keys(&environment);
        assert_eq!(check.found, "ANTHROPIC_API_KEY");
        assert!(!serde_json::to_string(&check).unwrap().contains("secret"));
    }

    #[test]
    fn versions_of_git_are_read() {
        assert_eq!(git_version("2.47.3"), Some((2, 47)));
        assert_eq!(git_version("2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(git_version("strange"), None);
    }
}
