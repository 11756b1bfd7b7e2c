//! The command line: parsed, run, and its end made an exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use crate::commands::{Command, Context};
use crate::config::{ColorWhen, Flags};
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{BOLD, DIM, Line, PLAIN, RED};
use crate::terminal::Terminal;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const MORE: &str = "\
Examples:
  cadence demo                              see it work, with no account and no key
  cadence run \"fix the failing test\"        in any git repository
  cadence tasks ls                          what runs and what ran
  cadence tasks apply last                  take the newest change into the checkout

Exit codes:
  0 done   1 failed   2 usage   3 server unreachable   4 not allowed in
  5 something that the agent needed was denied   6 input needed and nobody to ask
  7 budget or turns reached   8 rate limited when the time ended   9 timed out
  130 interrupted

Environment:
  CADENCE_SERVER, CADENCE_REMOTE, CADENCE_TOKEN, CADENCE_LISTEN, CADENCE_DATA_DIR, CADENCE_CONFIG, CADENCE_LOG,
  NO_COLOR, VPS_ENDPOINT, VPS_API_KEY";

/// Coding agents from the terminal.
#[derive(Debug, Parser)]
#[command(name = "cadence", version, about, styles = STYLES, after_long_help = MORE, max_term_width = 100)]
#[command(after_help = "`cadence --help` also shows examples, exit codes and the environment.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Address of the server [environment: CADENCE_SERVER]; none means your own, started on demand
    #[arg(long, value_name = "URL", global = true)]
    server: Option<String>,
    /// The server does not see the files of this machine [environment: CADENCE_REMOTE]
    #[arg(long, global = true)]
    remote: bool,
    /// File that holds the token for the server [environment: CADENCE_TOKEN holds a token itself]
    #[arg(long, value_name = "FILE", global = true, value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Print JSON: one document on a line, or one event a line while following
    #[arg(long, global = true)]
    json: bool,
    /// When to use colour
    #[arg(long, value_name = "WHEN", global = true, value_enum)]
    color: Option<ColorWhen>,
}

/// Parses the command line, runs the command and gives its exit code.
pub fn main() -> ExitCode {
    // Processes that agents and git run under or ask come first: they need nothing of what follows.
    match std::env::args_os().nth(1) {
        Some(name) if name == "host" => return cadence_agent::host::run(),
        Some(name) if name == "confine" => return cadence_agent::sandbox::run(),
        Some(name) if name == "demo-agent" => return cadence_agent::demo::run(),
        Some(name) if name == "git-credential" => return cadence_agent::git::credential_helper(),
        _ => {}
    }
    // A provider can be there already in no way but this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    CompleteEnv::with_factory(Cli::command).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let color = cli.global.color;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => report(&error, Terminal::detect(color.unwrap_or_default())),
    }
}

fn run(cli: Cli) -> CommandResult {
    let flags = Flags {
        server: cli.global.server,
        token_file: cli.global.token_file,
        color: cli.global.color,
        data_dir: cli.command.as_ref().and_then(Command::data_dir),
        remote: cli.global.remote,
    };
    let Some(command) = cli.command else {
        if let Some(result) = Context::dashboard(&flags, cli.global.json) {
            return result;
        }
        let mut help = Cli::command().render_long_help().ansi().to_string();
        if !Terminal::detect(flags.color.unwrap_or_default()).color {
            help = anstream::adapter::strip_str(&help).to_string();
        }
        std::io::stdout().lock().write_all(help.as_bytes())?;
        return Ok(Exit::Done);
    };
    Context::run(command, &flags, cli.global.json)
}

/// Says on standard error what went wrong, why, and what can be done about it.
fn report(error: &CommandError, terminal: Terminal) -> ExitCode {
    if error.quiet {
        return error.exit.into();
    }
    let mut lines = Vec::new();
    let mut message = error.message().lines();
    lines.push(Line::of(RED.bold(), "error: ").add(BOLD, message.next().unwrap_or_default()));
    lines.extend(message.map(|line| Line::of(PLAIN, line).indent(7)));
    for cause in error.causes() {
        lines.extend(cause.lines().map(|line| Line::of(DIM, "  cause: ").add(PLAIN, line)));
    }
    for hint in error.hints() {
        lines.extend(hint.lines().map(|line| Line::of(DIM, "  hint: ").add(PLAIN, line)));
    }
    terminal.note(&lines);
    error.exit.into()
}

/// The whole command line as a description, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_description_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{path} says nothing of itself");
                if sub.has_subcommands() {
                    check(sub, &path);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("cadence"), "{path} shows no example");
                }
            }
        }
        check(&Cli::command(), "cadence");
    }

    #[test]
    fn no_option_takes_a_secret() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(!["token", "key", "password", "secret"].contains(&name), "--{name}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in [
            "run x --timeout soon",
            "run x --budget 0",
            "run x --budget nan",
            "run x --max-turns 0",
            "run x --permission bypass",
            "run",
            "run x --ephemeral --detach",
            "tasks wait",
            "serve --workers 0",
        ] {
            let line = std::iter::once("cadence").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(line.clone()).unwrap_err().exit_code(), 2, "{:?}", line.collect::<Vec<_>>());
        }
    }
}
