//! The subcommands: arguments and behaviour together, one file each.

mod act;
mod approvals;
mod completions;
mod config;
mod daemon;
mod demo;
mod doctor;
mod machines;
mod man;
mod parse;
mod run;
mod serve;
mod server;
mod tasks;
mod tokens;
mod usage;
mod verify;
mod vocab;
mod voice;

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::client::Client;
use crate::config::{Flags, Settings, process_environment};
use crate::error::{CommandError, CommandResult, Exit};
use crate::terminal::Terminal;

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<run::Args>),
    Do(act::Args),
    Tasks(tasks::Args),
    Approvals(approvals::Args),
    Voice(Box<voice::Args>),
    Parse(parse::Args),
    Vocab(vocab::Args),
    Demo(demo::Args),
    Doctor(doctor::Args),
    Config(config::Args),
    Server(server::Args),
    Serve(serve::Args),
    Daemon(Box<daemon::Args>),
    Machines(machines::Args),
    Tokens(tokens::Args),
    Usage(usage::Args),
    Completions(completions::Args),
    Man(man::Args),
    /// Process that an agent runs under
    #[command(hide = true)]
    Host,
    /// Program that becomes an agent with fewer rights
    #[command(hide = true)]
    Confine,
    /// The scripted agent
    #[command(hide = true)]
    DemoAgent,
    /// Credential helper of git
    #[command(hide = true)]
    GitCredential,
}

impl Command {
    /// The data directory that the command names.
    pub fn data_dir(&self) -> Option<PathBuf> {
        match self {
            Self::Serve(args) => args.data_dir.clone(),
            Self::Daemon(args) => args.data_dir.clone(),
            Self::Doctor(args) => args.data_dir.clone(),
            Self::Server(args) => args.data_dir().map(Path::to_owned),
            _ => None,
        }
    }
}

/// What every command knows.
#[derive(Clone, Debug)]
pub struct Context {
    pub settings: Settings,
    pub terminal: Terminal,
    pub json: bool,
}

impl Context {
    /// Runs a command with the settings laid over each other.
    pub fn run(command: Command, flags: &Flags, json: bool) -> CommandResult {
        // What describes the program works with broken settings, and so does what looks for the fault or mends it.
        match command {
            Command::Completions(args) => return completions::run(&args),
            Command::Man(args) => return man::run(&args),
            Command::Config(args) => return config::run(&args, flags, json),
            Command::Host | Command::Confine | Command::DemoAgent | Command::GitCredential => return Ok(Exit::Usage),
            _ => {}
        }
        let settings = Settings::load(flags, &process_environment);
        if let Command::Doctor(args) = command {
            let color = flags.color.unwrap_or_default();
            return block_on(doctor::run(settings, Terminal::detect(color), json, args));
        }
        let settings = settings?;
        let context = Self { terminal: Terminal::detect(settings.color), settings, json };
        match command {
            Command::Run(args) => block_on(run::run(context, *args)),
            Command::Do(args) => block_on(act::run(context, args)),
            Command::Voice(args) => block_on(voice::run(context, *args)),
            Command::Parse(args) => block_on(parse::run(context, args)),
            Command::Vocab(args) => vocab::run(&context, &args),
            Command::Tasks(args) => block_on(tasks::run(context, args)),
            Command::Approvals(args) => block_on(approvals::run(context, args)),
            Command::Demo(args) => block_on(demo::run(context, args)),
            Command::Server(args) => block_on(server::run(context, args)),
            Command::Serve(args) => serve::run(&context, args),
            Command::Daemon(args) => daemon::run(&context, *args),
            Command::Machines(args) => block_on(machines::run(context, args)),
            Command::Tokens(args) => block_on(tokens::run(context, args)),
            Command::Usage(args) => block_on(usage::run(context, args)),
            Command::Completions(_)
            | Command::Man(_)
            | Command::Config(_)
            | Command::Doctor(_)
            | Command::Host
            | Command::Confine
            | Command::DemoAgent
            | Command::GitCredential => Ok(Exit::Usage),
        }
    }

    /// The dashboard, where somebody sits at a terminal that can show it.
    pub fn dashboard(flags: &Flags, json: bool) -> Option<CommandResult> {
        let terminal = Terminal::detect(flags.color.unwrap_or_default());
        if json || !terminal.shows || !terminal.asks {
            return None;
        }
        let open = || {
            let settings = Settings::load(flags, &process_environment)?;
            let context = Self { terminal: Terminal::detect(settings.color), settings, json };
            block_on(async {
                let client = context.client().await?;
                crate::tui::run(context, client, None).await
            })
        };
        Some(open())
    }

    /// The server to talk to.
    pub async fn client(&self) -> Result<Client, CommandError> {
        Client::connect(&self.settings).await
    }
}

fn block_on(command: impl Future<Output = CommandResult>) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed("the program cannot be set up").caused_by(error))?;
    let result = runtime.block_on(Box::pin(command));
    // What still runs in the background has nobody to report to.
    runtime.shutdown_background();
    result
}
