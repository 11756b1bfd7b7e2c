//! Agents of the settings: programs that speak the Agent Client Protocol.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

/// Agents that cadence knows by itself.
pub const AGENTS: &[&str] = &["claude", "codex", "opencode", "demo"];

/// The agent of new tasks: by its name, or as a command of one that speaks the protocol.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "an agent is a name, or { acp = [PROGRAM, ARGUMENTS] }")]
pub(super) enum Choice {
    Name(String),
    Command(Command),
}

/// `{ acp = ["gemini", "--acp"] }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    acp: Words,
}

/// A program and its arguments.
#[derive(Debug)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        match words.first() {
            None => Err(D::Error::custom("`acp` is a program and its arguments, like [\"gemini\", \"--acp\"]")),
            // A relative path would be looked up in whatever repository a task is for.
            Some(program) if program.is_empty() || program.contains('/') && !program.starts_with('/') => {
                Err(D::Error::custom("the program of `acp` is a name that is found in PATH, or an absolute path"))
            }
            Some(_) => Ok(Self(words)),
        }
    }
}

/// The name of an agent in `[agents.NAME]`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        check_name(&name).map_err(D::Error::custom)?;
        Ok(Self(name))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if !(1..=40).contains(&name.len()) || !name.chars().all(fits) || !name.starts_with(|c: char| c.is_ascii_lowercase())
    {
        let name = crate::text::clean_line(name);
        return Err(format!("`{name}` is no agent's name: small letters, digits, `-`, `_` and `.`"));
    }
    if AGENTS.contains(&name) {
        return Err(format!("`{name}` is an agent of cadence's own"));
    }
    Ok(())
}

/// The agent of new tasks, and the commands of agents by their names.
pub(super) type Resolved = (Option<String>, BTreeMap<String, Vec<String>>);

/// The commands of all agents that the settings name, and the agent of new tasks.
pub(super) fn resolve(choice: Option<Choice>, named: BTreeMap<Name, Command>) -> Result<Resolved, String> {
    let mut all: BTreeMap<String, Vec<String>> =
        named.into_iter().map(|(name, command)| (name.0, command.acp.0)).collect();
    let agent = match choice {
        None => None,
        Some(Choice::Name(name)) => Some(name),
        // It is called what its program is.
        Some(Choice::Command(Command { acp: Words(words) })) => {
            let program = words.first().map(String::as_str).unwrap_or_default();
            let name = program.rsplit('/').next().unwrap_or_default().to_owned();
            check_name(&name).map_err(|why| format!("agent: {why}; name it in [agents.NAME]"))?;
            all.insert(name.clone(), words);
            Some(name)
        }
    };
    Ok((agent, all))
}
