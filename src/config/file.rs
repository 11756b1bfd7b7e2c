//! The settings file: TOML, checked key by key, edited without losing its comments.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cadence_protocol::PermissionMode;
use serde::{Deserialize, Deserializer, de::Error as _};
use toml_edit::DocumentMut;

use super::isolation::{Limits, Sandbox};
use super::{AGENTS, ColorWhen};
use crate::error::CommandError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub server: Option<String>,
    pub token_file: Option<PathBuf>,
    pub color: Option<ColorWhen>,
    pub data_dir: Option<PathBuf>,
    pub listen: Option<String>,
    pub agent: Option<super::agents::Choice>,
    #[serde(default)]
    pub agents: std::collections::BTreeMap<super::agents::Name, super::agents::Command>,
    pub model: Option<String>,
    pub permission: Option<PermissionMode>,
    pub budget: Option<Dollars>,
    pub max_turns: Option<u32>,
    pub timeout: Option<Seconds>,
    #[serde(default)]
    pub environment: Vec<VariableName>,
    pub workers: Option<usize>,
    #[serde(default)]
    pub labels: Vec<String>,
    pub warm_workspaces: Option<usize>,
    pub keep_archived_days: Option<Days>,
    pub keep_logs_days: Option<Days>,
    pub max_bundle_mb: Option<Mebibytes>,
    pub remote: Option<bool>,
    #[serde(default)]
    pub sandbox: Sandbox,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub voice: cadence_speech::Settings,
    #[serde(default)]
    pub dashboard: super::Dashboard,
    #[serde(default)]
    pub repositories: super::repositories::Repositories,
    #[serde(default)]
    pub dependencies: super::repositories::Dependencies,
    #[serde(default)]
    pub git: super::repositories::Git,
    #[serde(default)]
    pub bridge: super::bridge::Section,
}

#[derive(Debug)]
pub(super) struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::text::parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Read as MiB, kept in bytes.
#[derive(Debug)]
pub(super) struct Mebibytes(pub u64);

impl<'de> Deserialize<'de> for Mebibytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            0 => Err(D::Error::custom("it is more than nothing")),
            mib => Ok(Self(u64::from(mib) * 1024 * 1024)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Days(pub Duration);

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            days @ 0..=36_500 => Ok(Self(Duration::from_secs(24 * 3600) * days)),
            _ => Err(D::Error::custom("it is at most 36500 days")),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Dollars(pub f64);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if value.is_finite() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(D::Error::custom("a budget must be more than nothing"))
        }
    }
}

#[derive(Debug)]
pub(super) struct VariableName(pub String);

impl<'de> Deserialize<'de> for VariableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let valid = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !valid {
            return Err(D::Error::custom(format!("`{}` is no variable's name", crate::text::clean_line(&name))));
        }
        if name == "IS_SANDBOX" {
            return Err(D::Error::custom("IS_SANDBOX is never given to an agent"));
        }
        Ok(Self(name))
    }
}

/// A setting that the file may hold.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
}

/// How the value of a setting is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Decimal,
    /// Names separated by commas on the command line, an array in the file.
    List,
    /// `true` or `false`.
    Switch,
}

pub const KEYS: &[Key] = &[
    Key { name: "server", kind: Kind::Text, about: "address of the server; none starts one on demand" },
    Key {
        name: "remote",
        kind: Kind::Switch,
        about: "the server has files of its own though its address is this machine's, as over a tunnel: true, false",
    },
    Key { name: "token_file", kind: Kind::Text, about: "file that holds the token for the server" },
    Key {
        name: "agent",
        kind: Kind::Text,
        about: "agent of new tasks: claude, codex, opencode, demo, or one of [agents]",
    },
    Key { name: "model", kind: Kind::Text, about: "model of new tasks" },
    Key { name: "permission", kind: Kind::Text, about: "what new tasks may do without asking: ask, edits, all" },
    Key { name: "budget", kind: Kind::Decimal, about: "US dollars that a new task may spend" },
    Key { name: "max_turns", kind: Kind::Number, about: "turns that a new task may take" },
    Key { name: "timeout", kind: Kind::Text, about: "time that a new task may run, like 30m" },
    Key { name: "environment", kind: Kind::List, about: "further variables that tasks bring along" },
    Key { name: "color", kind: Kind::Text, about: "auto, always, never" },
    Key { name: "data_dir", kind: Kind::Text, about: "where the embedded server keeps its data" },
    Key { name: "listen", kind: Kind::Text, about: "address of `cadence serve`" },
    Key { name: "workers", kind: Kind::Number, about: "tasks that this machine runs at once" },
    Key { name: "labels", kind: Kind::List, about: "labels of this machine, which tasks may ask for with --on" },
    Key {
        name: "warm_workspaces",
        kind: Kind::Number,
        about: "repositories that the server keeps a workspace ready for; 0 for none",
    },
    Key {
        name: "keep_archived_days",
        kind: Kind::Number,
        about: "days after which archived tasks are removed, unless their work is nowhere else; none: never",
    },
    Key {
        name: "keep_logs_days",
        kind: Kind::Number,
        about: "days after which agents' raw logs are deleted; none: 30",
    },
    Key {
        name: "sandbox.mode",
        kind: Kind::Text,
        about: "what of the machine agents may touch: strict, workspace, off; none: workspace, where it can be enforced",
    },
    Key { name: "sandbox.read", kind: Kind::List, about: "further places that `strict` lets agents read" },
    Key { name: "sandbox.write", kind: Kind::List, about: "further places that agents may write" },
    Key { name: "limits.memory", kind: Kind::Text, about: "memory of one agent with what it starts, like 4G" },
    Key { name: "limits.cpu", kind: Kind::Decimal, about: "processors of one agent, like 1.5" },
    Key { name: "limits.processes", kind: Kind::Number, about: "processes and threads of one agent; none: 4096" },
    Key { name: "limits.wall_clock", kind: Kind::Text, about: "most time that any task may run, like 2h" },
    Key {
        name: "max_bundle_mb",
        kind: Kind::Number,
        about: "MiB of commits that the server takes for one task; none: 512",
    },
    Key {
        name: "limits.month_usd",
        kind: Kind::Decimal,
        about: "US dollars that each user may spend in a calendar month (UTC); counts at the server's next start",
    },
    Key {
        name: "voice.engines",
        kind: Kind::List,
        about: "speech engines, tried in this order: openai, deepgram, local",
    },
    Key {
        name: "voice.language",
        kind: Kind::Text,
        about: "language that is spoken, like en; none: the engine finds out",
    },
    Key { name: "voice.device", kind: Kind::Text, about: "microphone; `cadence voice devices` lists them" },
    Key { name: "voice.pause", kind: Kind::Text, about: "silence that ends a recording, like 1.2s" },
    Key { name: "voice.limit", kind: Kind::Text, about: "longest recording, like 30s" },
    Key { name: "voice.speak", kind: Kind::Text, about: "what answers are spoken with: auto, off, or a program" },
    Key { name: "voice.notify", kind: Kind::Switch, about: "notices of the desktop: true, false" },
    Key { name: "voice.openai.base_url", kind: Kind::Text, about: "address of a server that speaks Whisper's API" },
    Key { name: "voice.openai.model", kind: Kind::Text, about: "its model; none: whisper-1" },
    Key { name: "voice.deepgram.model", kind: Kind::Text, about: "Deepgram's model; none: nova-3" },
    Key { name: "voice.local.model", kind: Kind::Text, about: "local model; `cadence voice models` lists them" },
    Key {
        name: "voice.understanding.provider",
        kind: Kind::Text,
        about: "whose model is asked where the grammar is not sure: anthropic, openai, nobody",
    },
    Key { name: "voice.understanding.model", kind: Kind::Text, about: "that model" },
    Key {
        name: "dashboard.theme",
        kind: Kind::Text,
        about: "colours of the dashboard: dark, light, high-contrast, terminal",
    },
    Key { name: "dashboard.mouse", kind: Kind::Switch, about: "whether it takes the mouse: true, false" },
    Key {
        name: "dashboard.notify",
        kind: Kind::Switch,
        about: "notices of the desktop when something needs you: true, false",
    },
    Key {
        name: "repositories.keep",
        kind: Kind::Number,
        about: "repositories by URL that are kept for the next task; none: 5",
    },
    Key { name: "repositories.max_size", kind: Kind::Text, about: "space that they may take, like 20G" },
    Key {
        name: "repositories.partial",
        kind: Kind::List,
        about: "URLs, with * for any text, that are fetched without the content of old files",
    },
    Key {
        name: "repositories.partial_above",
        kind: Kind::Text,
        about: "size from which every repository is; none: 1G, 0G: none is",
    },
    Key {
        name: "dependencies.install",
        kind: Kind::Switch,
        about: "whether packages that lock files name are installed: true, false",
    },
    Key { name: "bridge.endpoint", kind: Kind::Text, about: "address of a machine that gets tasks of `cadence serve`" },
    Key { name: "bridge.key_file", kind: Kind::Text, about: "file that holds the key for it" },
    Key { name: "bridge.capacity", kind: Kind::Number, about: "tasks that it has at once; none: 4" },
    Key { name: "bridge.labels", kind: Kind::List, about: "its labels, which tasks may ask for with --on" },
    Key { name: "dashboard.speak", kind: Kind::Switch, about: "whether that is spoken, too: true, false" },
];

/// The setting of this name.
pub fn key(name: &str) -> Result<Key, CommandError> {
    let wanted = name.replace('-', "_");
    KEYS.iter().copied().find(|key| key.name == wanted).ok_or_else(|| {
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        CommandError::usage(format!("there is no setting `{}`", crate::text::clean_line(name)))
            .hint(format!("The settings are {}.", names.join(", ")))
    })
}

pub(super) fn read(path: &Path, required: bool) -> Result<File, CommandError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => Ok(File::default()),
        Err(error) => {
            let named = if required { ", named by the variable CADENCE_CONFIG," } else { "" };
            Err(CommandError::usage(format!("the settings file {}{named} cannot be read", path.display()))
                .caused_by(error))
        }
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<File, CommandError> {
    toml::from_str(text).map_err(|error| at(path, text, error.span(), error.message()))
}

fn at(path: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> CommandError {
    let place = span
        .and_then(|span| text.get(..span.start))
        .map(|before| format!(", line {}", before.matches('\n').count() + 1))
        .unwrap_or_default();
    let message: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    CommandError::usage(format!("{}{place}: {}", path.display(), message.join("; ")))
        .hint("Correct the file, or use `cadence config set NAME VALUE` or `cadence config unset NAME`.")
}

/// Writes one setting into the file, everything else in it left as it is.
pub fn set(path: &Path, key: Key, value: &str) -> Result<(), CommandError> {
    check(key, value)?;
    edit(path, |document| {
        if key.name == "agent" {
            let own = document.get("agents").and_then(toml_edit::Item::as_table_like);
            let own = own.into_iter().flat_map(|table| table.iter().map(|(name, _)| name.to_owned()));
            let names: Vec<_> = AGENTS.iter().map(|name| (*name).to_owned()).chain(own).collect();
            if !names.iter().any(|name| name == value) {
                return Err(wrong(key, value, &format!("it is one of {}", names.join(", "))));
            }
        }
        let item = match key.kind {
            Kind::Text => toml_edit::value(value),
            Kind::Number => {
                toml_edit::value(value.parse::<i64>().map_err(|_| wrong(key, value, "it is a whole number"))?)
            }
            Kind::Decimal => toml_edit::value(value.parse::<f64>().map_err(|_| wrong(key, value, "it is a number"))?),
            Kind::Switch => {
                toml_edit::value(value.parse::<bool>().map_err(|_| wrong(key, value, "it is true or false"))?)
            }
            Kind::List => {
                let names: toml_edit::Array = value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
                toml_edit::value(names)
            }
        };
        // What would not be read again is not written. What else is wrong in the file does not keep from mending this.
        let mut alone = DocumentMut::new();
        *at_path(alone.as_item_mut(), key.name) = item.clone();
        // Assigning through the entry keeps the comments beside it.
        let place = at_path(document.as_item_mut(), key.name);
        match place.as_value_mut() {
            Some(old) => {
                let decor = old.decor().clone();
                if let Ok(mut new) = item.into_value() {
                    *new.decor_mut() = decor;
                    *old = new;
                }
            }
            None => *place = item,
        }
        toml::from_str::<File>(&alone.to_string()).map(drop).map_err(|error| {
            CommandError::usage(error.message().lines().collect::<Vec<_>>().join("; "))
                .hint(format!("{} was left as it is.", path.display()))
        })
    })
}

/// Refuses a value that every later command would refuse.
fn check(key: Key, value: &str) -> Result<(), CommandError> {
    match key.name {
        "server" => super::parse_server(value, &super::Origin::Value).map(drop),
        "bridge.endpoint" => super::bridge::parse(value, &super::Origin::Value).map(drop),
        "listen" if super::listen_address(value).is_none() => {
            Err(wrong(key, value, "it is an address and a port, like 127.0.0.1:8383 or [::1]:8383"))
        }
        "token_file" | "data_dir" | "model" | "bridge.key_file" if value.trim().is_empty() => {
            Err(wrong(key, value, "it is empty").hint(format!("`cadence config unset {}` takes it out.", key.name)))
        }
        "workers" | "max_turns" | "bridge.capacity" if value.parse::<i64>().is_ok_and(|number| number < 1) => {
            Err(wrong(key, value, "it is more than nothing"))
        }
        _ => Ok(()),
    }
}

/// Takes one setting out of the file; one that is there though there is no such setting, too.
pub fn unset(path: &Path, name: &str) -> Result<(), CommandError> {
    edit(path, |document| {
        if document.remove(name).is_none() {
            let (sections, last) = match key(name)?.name.rsplit_once('.') {
                Some((sections, last)) => (Some(sections), last),
                None => (None, name),
            };
            let mut table: Option<&mut dyn toml_edit::TableLike> = Some(document.as_table_mut());
            for section in sections.into_iter().flat_map(|sections| sections.split('.')) {
                table = table.and_then(|table| table.get_mut(section)?.as_table_like_mut());
            }
            table.map(|table| table.remove(&last.replace('-', "_")));
        }
        Ok(())
    })
}

/// The place of a setting, whose name has its sections before it: `voice.openai.model`.
fn at_path<'a>(root: &'a mut toml_edit::Item, name: &str) -> &'a mut toml_edit::Item {
    let mut place = root;
    let mut names = name.split('.').peekable();
    while let Some(name) = names.next() {
        place = &mut place[name];
        if names.peek().is_some() && !place.is_table_like() {
            *place = toml_edit::table();
        }
    }
    place
}

fn wrong(key: Key, value: &str, expected: &str) -> CommandError {
    CommandError::usage(format!("`{}` is no value for {}: {expected}", crate::text::clean_line(value), key.name))
}

fn edit(path: &Path, change: impl FnOnce(&mut DocumentMut) -> Result<(), CommandError>) -> Result<(), CommandError> {
    let unwritable = |error: std::io::Error| {
        CommandError::failed(format!("the settings file {} cannot be written", path.display())).caused_by(error)
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(unwritable(error)),
    };
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| at(path, &text, error.span(), error.message()))?;
    change(&mut document)?;
    let text = document.to_string();
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(unwritable)?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(unwritable)?;
    file.write_all(text.as_bytes()).map_err(unwritable)?;
    file.persist(path).map_err(|error| unwritable(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn message(text: &str) -> String {
        parse(Path::new("config.toml"), text).unwrap_err().message().to_owned()
    }

    #[test]
    fn errors_say_the_line() {
        insta::assert_snapshot!(message("agent = \"claude\"\nmodle = \"x\"\n"), @"config.toml, line 2: unknown field `modle`, expected one of `server`, `token_file`, `color`, `data_dir`, `listen`, `agent`, `agents`, `model`, `permission`, `budget`, `max_turns`, `timeout`, `environment`, `workers`, `labels`, `warm_workspaces`, `keep_archived_days`, `keep_logs_days`, `max_bundle_mb`, `remote`, `sandbox`, `limits`, `voice`, `dashboard`, `repositories`, `dependencies`, `git`, `bridge`");
        insta::assert_snapshot!(message("permission = \"bypass\"\n"), @"config.toml, line 1: unknown variant `bypass`, expected one of `ask`, `edits`, `all`");
        insta::assert_snapshot!(message("\n\ntimeout = \"soon\"\n"), @"config.toml, line 3: `soon` is no duration; write it like 30s, 10m or 1h30m");
        insta::assert_snapshot!(message("budget = -1.0\n"), @"config.toml, line 1: a budget must be more than nothing");
        insta::assert_snapshot!(message("agent = \n"), @"config.toml, line 1: string values must be quoted, expected literal string");
        insta::assert_snapshot!(message("environment = [\"IS_SANDBOX\"]\n"), @"config.toml, line 1: IS_SANDBOX is never given to an agent");
    }

    #[test]
    fn setting_keeps_comments_and_refuses_nonsense() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.toml");
        set(&path, key("model").unwrap(), "sonnet").unwrap();
        let text = format!("# mine\n{}\nmax_turns = 4 # few\n", std::fs::read_to_string(&path).unwrap().trim());
        std::fs::write(&path, &text).unwrap();
        set(&path, key("max-turns").unwrap(), "9").unwrap();
        set(&path, key("environment").unwrap(), "FOO, BAR").unwrap();
        unset(&path, "model").unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        insta::assert_snapshot!(after, @r#"
        max_turns = 9 # few
        environment = ["FOO", "BAR"]
        "#);
        for (name, value) in [
            ("budget", "-1"),
            ("limits.month_usd", "0"),
            ("max_turns", "x"),
            ("listen", "localhost"),
            ("listen", "127.0.0.1:99999"),
            ("listen", ""),
            ("permission", "bypass"),
            ("timeout", "never"),
            ("server", "foo"),
            ("agent", "foo"),
            ("workers", "0"),
            ("warm_workspaces", "-1"),
            ("keep_archived_days", "-1"),
            ("keep_logs_days", "40000"),
        ] {
            assert!(set(&path, key(name).unwrap(), value).is_err(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
    }

    #[test]
    fn agents_of_the_settings_are_commands() {
        let read = |text: &str| {
            let file = parse(Path::new("config.toml"), text).unwrap();
            super::super::agents::resolve(file.agent, file.agents)
        };
        let gemini = vec!["gemini".to_owned(), "--acp".to_owned()];
        let (agent, all) = read("agent = { acp = [\"gemini\", \"--acp\"] }\n").unwrap();
        assert_eq!((agent.as_deref(), &all["gemini"]), (Some("gemini"), &gemini));
        let (agent, all) = read("[agents.mine]\nacp = [\"/opt/gemini\", \"--acp\"]\n").unwrap();
        assert_eq!((agent, all["mine"][0].as_str()), (None, "/opt/gemini"));
        assert!(read("agent = { acp = [\"/opt/claude\"] }\n").unwrap_err().contains("an agent of cadence's own"));
        for (wrong, says) in [
            ("[agents.claude]\nacp = [\"x\"]\n", "`claude` is an agent of cadence's own"),
            ("[agents.\"a b\"]\nacp = [\"x\"]\n", "`a b` is no agent's name"),
            ("[agents.x]\nacp = []\n", "`acp` is a program and its arguments"),
            ("[agents.x]\nacp = [\"bin/x\"]\n", "found in PATH, or an absolute path"),
            ("[agents.x]\ncommand = [\"x\"]\n", "unknown field `command`"),
            ("agent = 7\n", "an agent is a name, or { acp = [PROGRAM, ARGUMENTS] }"),
        ] {
            assert!(message(wrong).contains(says), "{wrong}: {}", message(wrong));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "[agents.mine]\nacp = [\"x\"]\n").unwrap();
        set(&path, key("agent").unwrap(), "mine").unwrap();
        assert!(set(&path, key("agent").unwrap(), "other").is_err());
        read(&std::fs::read_to_string(&path).unwrap()).unwrap();
    }

    #[test]
    fn a_broken_file_can_be_mended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "modle = \"x\"\npermission = \"bypass\"\nagent = \"claude\"\n").unwrap();
        set(&path, key("agent").unwrap(), "demo").unwrap();
        set(&path, key("permission").unwrap(), "ask").unwrap();
        unset(&path, "modle").unwrap();
        assert!(unset(&path, "modle").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "permission = \"ask\"\nagent = \"demo\"\n");
        read(&path, true).unwrap();
    }

    #[test]
    fn every_key_is_read() {
        for key in KEYS {
            let text = match key.kind {
                Kind::Number => format!("{} = 30", key.name),
                Kind::Decimal => format!("{} = 3.5", key.name),
                Kind::List if key.name == "voice.engines" => format!("{} = [\"openai\"]", key.name),
                Kind::List if key.name.starts_with("sandbox.") => format!("{} = [\"~/.a\"]", key.name),
                Kind::List => format!("{} = [\"A\"]", key.name),
                Kind::Switch => format!("{} = true", key.name),
                Kind::Text => format!(
                    "{} = \"{}\"",
                    key.name,
                    match key.name {
                        "permission" => "ask",
                        "color" => "never",
                        "timeout" => "3m",
                        "repositories.max_size" | "repositories.partial_above" => "3G",
                        "sandbox.mode" => "strict",
                        "limits.memory" => "4G",
                        "limits.wall_clock" => "2h",
                        "voice.pause" | "voice.limit" => "2s",
                        "voice.openai.base_url" => "http://127.0.0.1:8000/v1",
                        "voice.understanding.provider" => "nobody",
                        "dashboard.theme" => "light",
                        _ => "x",
                    }
                ),
            };
            parse(Path::new("config.toml"), &text).unwrap();
        }
    }
}
