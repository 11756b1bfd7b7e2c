//! The sections `[sandbox]` and `[limits]`: what agents are kept to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cadence_agent::sandbox::Policy;
use cadence_protocol::{SandboxLimits, SandboxMode};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::file::{Dollars, Seconds};

/// Processes and threads of one agent unless the settings say: more than any build has, and less than what stops a machine.
const PROCESSES: u64 = 4096;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    mode: Option<SandboxMode>,
    #[serde(default)]
    read: Vec<Place>,
    #[serde(default)]
    write: Vec<Place>,
    #[serde(default)]
    ports: Vec<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    memory: Option<Memory>,
    cpu: Option<Processors>,
    processes: Option<Processes>,
    wall_clock: Option<Seconds>,
    /// What each user may spend in a calendar month in UTC, over all agents and machines.
    pub(super) month_usd: Option<Dollars>,
}

impl Sandbox {
    /// With the limits, as agents are kept to it. `expand` makes `~` the home directory.
    pub fn policy(&self, limits: &Limits, expand: &dyn Fn(&Path) -> PathBuf) -> Policy {
        let places = |places: &[Place]| places.iter().map(|place| expand(&place.0)).collect();
        Policy {
            mode: self.mode,
            read: places(&self.read),
            write: places(&self.write),
            ports: self.ports.clone(),
            hidden: Vec::new(),
            limits: SandboxLimits {
                memory_bytes: limits.memory.as_ref().map(|memory| memory.0),
                cpus: limits.cpu.as_ref().map(|cpu| cpu.0),
                processes: Some(limits.processes.as_ref().map_or(PROCESSES, |processes| processes.0)),
                wall_clock_secs: limits.wall_clock.as_ref().map(|Seconds(time)| seconds(*time)),
                by: None,
            },
        }
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

/// A path that does not depend on where a program was started.
#[derive(Debug)]
struct Place(PathBuf);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        if path.is_absolute() || path.starts_with("~") {
            Ok(Self(path))
        } else {
            Err(D::Error::custom("a path begins with / or ~"))
        }
    }
}

/// Bytes, written as a number with K, M, G or T: 1024, or as many times as one has them.
#[derive(Debug)]
struct Memory(u64);

/// Less than this no agent starts with.
const LEAST_MEMORY: u64 = 16 << 20;

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match bytes(&text) {
            Some(bytes @ LEAST_MEMORY..) => Ok(Self(bytes)),
            Some(_) => Err(D::Error::custom("it is at least 16M")),
            None => Err(D::Error::custom("write it like 512M or 4G")),
        }
    }
}

/// Reads bytes as systemd and Docker do: a number, and a power of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let power = match unit.trim() {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * f64::from(2u32).powi(power);
    // Exact up to here, and more than any machine has.
    (bytes.is_finite() && bytes < f64::from(2u32).powi(53)).then_some(bytes as u64)
}

#[derive(Debug)]
struct Processors(f64);

impl<'de> Deserialize<'de> for Processors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if (0.01..=4096.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(D::Error::custom("it is a number of processors, like 2 or 0.5"))
        }
    }
}

#[derive(Debug)]
struct Processes(u64);

impl<'de> Deserialize<'de> for Processes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            processes @ 8..=4_194_304 => Ok(Self(processes)),
            _ => Err(D::Error::custom("it is a number from 8 to 4194304")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn policy(text: &str) -> Result<Policy, String> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            sandbox: Sandbox,
            #[serde(default)]
            limits: Limits,
        }
        let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let home =
            |path: &Path| path.strip_prefix("~").map_or(path.to_owned(), |rest| Path::new("/home/ann").join(rest));
        Ok(file.sandbox.policy(&file.limits, &home))
    }

    #[test]
    fn what_is_set_is_kept() {
        let text = "[sandbox]\nmode = \"strict\"\nwrite = [\"~/.foo\"]\nports = [3000]\n\
                    [limits]\nmemory = \"4G\"\ncpu = 1.5\nprocesses = 512\nwall_clock = \"2h\"\n";
        let policy = policy(text).unwrap();
        assert_eq!((policy.mode, policy.ports), (Some(SandboxMode::Strict), vec![3000]));
        assert_eq!(policy.write, [PathBuf::from("/home/ann/.foo")]);
        let limits = policy.limits;
        assert_eq!((limits.memory_bytes, limits.cpus), (Some(4 << 30), Some(1.5)));
        assert_eq!((limits.processes, limits.wall_clock_secs), (Some(512), Some(7200)));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for text in [
            "[sandbox]\nmode = \"loose\"",
            "[sandbox]\nread = [\"src\"]",
            "[sandbox]\nports = [70000]",
            "[limits]\nmemory = \"4X\"",
            "[limits]\nmemory = \"1M\"",
            "[limits]\nmemory = \"-4G\"",
            "[limits]\ncpu = 0.0",
            "[limits]\ncpu = nan",
            "[limits]\nprocesses = 1",
            "[limits]\nwall_clock = \"soon\"",
            "[limits]\nswap = \"1G\"",
        ] {
            assert!(policy(text).is_err(), "{text}");
        }
        assert_eq!(policy("").unwrap().limits.processes, Some(PROCESSES));
    }

    proptest! {
        #[test]
        fn bytes_are_powers_of_1024(number in 1u64..4096, (unit, power) in prop::sample::select(vec![("K", 10), ("M", 20), ("GiB", 30), ("", 0)])) {
            prop_assert_eq!(bytes(&format!("{number}{unit}")), Some(number << power));
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let _ = bytes(&text);
        }
    }
}
