//! `cadence config`: the settings file.

use crate::complete;
use crate::config::{Flags, KEYS, Settings, key, process_environment, set, unset};
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{CYAN, DIM, Line, PLAIN, table};
use crate::terminal::Terminal;

/// Look at the settings, and change them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print what is set in the file: one setting, or all
    #[command(after_help = "Examples:\n  cadence config get\n  cadence config get model")]
    Get {
        #[arg(add = complete::setting_names())]
        name: Option<String>,
    },
    /// Set something in the file; its comments stay
    #[command(after_help = "Examples:
  cadence config set model sonnet
  cadence config set permission ask
  cadence config set environment NPM_TOKEN,PGHOST")]
    Set {
        #[arg(add = complete::setting_names())]
        name: String,
        value: String,
    },
    /// Take a setting out of the file
    #[command(after_help = "Example:\n  cadence config unset model")]
    Unset {
        #[arg(add = complete::setting_names())]
        name: String,
    },
    /// Print where the file is
    #[command(after_help = "Example:\n  $EDITOR \"$(cadence config path)\"")]
    Path,
}

pub fn run(args: &Args, flags: &Flags, json: bool) -> CommandResult {
    let color = flags.color.unwrap_or_default();
    let terminal = Terminal::detect(color);
    let path = Settings::file_path(&process_environment)?;
    match &args.action {
        Action::Path if json => terminal.json(&serde_json::json!({ "path": path }))?,
        Action::Path => terminal.print(&[Line::of(PLAIN, path.display().to_string())])?,
        Action::Set { name, value } => {
            set(&path, key(name)?, value)?;
            if json {
                terminal.json(&serde_json::json!({ "path": path, key(name)?.name: value }))?;
            }
        }
        Action::Unset { name } => {
            unset(&path, name)?;
            if json {
                terminal.json(&serde_json::json!({ "path": path }))?;
            }
        }
        Action::Get { name } => {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(CommandError::failed("the settings cannot be read").caused_by(error)),
            };
            // Values that are wrong are shown too: whoever looks wants to mend them.
            let values: toml::Table = toml::from_str(&text).map_err(|error| {
                CommandError::usage(format!("{} is no TOML", path.display())).caused_by(error).hint("Correct the file.")
            })?;
            return get(name.as_deref(), &values, terminal, json);
        }
    }
    Ok(Exit::Done)
}

fn get(name: Option<&str>, values: &toml::Table, terminal: Terminal, json: bool) -> CommandResult {
    match name.map(key).transpose()? {
        Some(key) => {
            let value = find(values, key.name);
            if json {
                terminal.json(&serde_json::json!({ key.name: value }))?;
            } else if let Some(value) = value {
                terminal.print(&[Line::of(PLAIN, shown(value))])?;
            }
            Ok(if value.is_some() { Exit::Done } else { Exit::Failed })
        }
        None if json => {
            terminal.json(values)?;
            Ok(Exit::Done)
        }
        None => {
            let rows = KEYS
                .iter()
                .map(|key| {
                    let value = match find(values, key.name) {
                        Some(value) => Line::of(PLAIN, shown(value)),
                        None => Line::of(DIM, "-"),
                    };
                    vec![Line::of(CYAN, key.name), value, Line::of(DIM, key.about)]
                })
                .collect();
            terminal.print(&table(rows, terminal.columns()))?;
            Ok(Exit::Done)
        }
    }
}

/// A setting, whose name has its sections before it.
fn find<'a>(values: &'a toml::Table, name: &str) -> Option<&'a toml::Value> {
    match name.split_once('.') {
        Some((section, rest)) => find(values.get(section)?.as_table()?, rest),
        None => values.get(name),
    }
}

fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
