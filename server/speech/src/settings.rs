//! The section `[voice]` of the settings file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

/// Longest recording that can be asked for: engines take no more at once.
const LONGEST: Duration = Duration::from_secs(600);

/// An engine that makes text of speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Whisper's API at OpenAI, or any server that speaks it.
    Openai,
    Deepgram,
    /// whisper.cpp in this process.
    Local,
}

impl EngineKind {
    /// As it is written in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Deepgram => "deepgram",
            Self::Local => "local",
        }
    }
}

/// How speech is recorded, understood and answered. What is left out is as the environment and the defaults say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// In the order in which they are tried; none: those that are set up, a local one last.
    pub engines: Vec<EngineKind>,
    /// ISO 639-1 code of what is spoken; none lets the engine find out.
    pub language: Option<String>,
    pub openai: Service,
    pub deepgram: Service,
    pub local: Local,
    pub understanding: Understanding,
    /// What is heard, and what is written instead.
    pub replacements: BTreeMap<String, String>,
    /// The microphone's name.
    pub device: Option<String>,
    /// How long nobody speaks before a recording ends.
    #[serde(deserialize_with = "pause")]
    pub pause: Option<Duration>,
    /// How long a recording is at most.
    #[serde(deserialize_with = "limit")]
    pub limit: Option<Duration>,
    /// What answers are spoken with: `auto`, `off`, or a program that reads the text.
    pub speak: Option<String>,
    /// Whether the terminal is asked to show notices.
    pub notify: Option<bool>,
}

/// A service on the network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    #[serde(deserialize_with = "address")]
    pub base_url: Option<Url>,
    pub model: Option<String>,
    /// Longest time for one try.
    #[serde(deserialize_with = "timeout")]
    pub timeout: Option<Duration>,
    /// 0 to 1; Whisper's own choice where it is left out.
    #[serde(deserialize_with = "temperature")]
    pub temperature: Option<f32>,
}

/// whisper.cpp in this process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    /// Name of a model that was pulled, or the path of a file.
    pub model: Option<String>,
    pub threads: Option<u16>,
}

/// Whose model is asked what a sentence means that the grammar is not sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    Anthropic,
    Openai,
    Nobody,
}

/// The model that is asked where the grammar is not sure.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Understanding {
    /// None: Anthropic where there is a key for it, else nobody.
    pub provider: Option<Asked>,
    #[serde(deserialize_with = "address")]
    pub base_url: Option<Url>,
    pub model: Option<String>,
    #[serde(deserialize_with = "timeout")]
    pub timeout: Option<Duration>,
}

/// A time like `300ms`, `1.2s` or `2m`.
///
/// # Errors
/// A sentence on what is wrong with it.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is no time; write it like 300ms, 1.2s or 2m", text.escape_debug());
    let text = text.trim();
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())
}

fn between<'de, D: Deserializer<'de>>(d: D, least: Duration, most: Duration) -> Result<Option<Duration>, D::Error> {
    let time = parse_time(&String::deserialize(d)?).map_err(D::Error::custom)?;
    if !(least..=most).contains(&time) {
        return Err(D::Error::custom(format!("it is between {least:?} and {most:?}")));
    }
    Ok(Some(time))
}

fn pause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    between(deserializer, Duration::from_millis(200), Duration::from_secs(30))
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    between(deserializer, Duration::from_secs(1), LONGEST)
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    between(deserializer, Duration::from_millis(100), LONGEST)
}

fn temperature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    match f32::deserialize(deserializer)? {
        value @ 0.0..=1.0 => Ok(Some(value)),
        _ => Err(D::Error::custom("a temperature is between 0 and 1")),
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    parse_address(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

/// The address of a service.
///
/// # Errors
/// A sentence on what is wrong with it. Users and passwords are refused: the settings are no place for secrets.
pub fn parse_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") || url.host().is_none() {
        return Err("it is no address like https://api.example.org/v1".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user or password; keys come from the environment".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_of_it_is_read() {
        let settings: Settings = toml::from_str(
            r#"
            engines = ["deepgram", "openai", "local"]
            language = "en"
            pause = "1.2s"
            limit = "45s"
            speak = "off"
            notify = false
            device = "USB"
            openai = { base_url = "http://127.0.0.1:8080/v1", model = "large", timeout = "800ms", temperature = 0.2 }
            local.model = "base.en"
            understanding = { provider = "openai", model = "small" }
            [replacements]
            "post gress" = "postgres"
            "#,
        )
        .unwrap();
        assert_eq!(settings.engines, [EngineKind::Deepgram, EngineKind::Openai, EngineKind::Local]);
        assert_eq!(settings.pause, Some(Duration::from_millis(1200)));
        assert_eq!(settings.openai.timeout, Some(Duration::from_millis(800)));
        assert_eq!(settings.understanding.provider, Some(Asked::Openai));
        assert_eq!(settings.replacements["post gress"], "postgres");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "pause = \"soon\"",
            "pause = \"0s\"",
            "limit = \"2h\"",
            "limit = \"20m\"",
            "openai.temperature = 2.0",
            "openai.base_url = \"nowhere\"",
            "openai.base_url = \"https://me:secret@example.org\"",
            "openai.key = \"secret\"",
            "engines = [\"siri\"]",
            "understanding.provider = \"me\"",
        ] {
            assert!(toml::from_str::<Settings>(text).is_err(), "{text}");
        }
        assert_eq!(toml::from_str::<Settings>("").unwrap(), Settings::default());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "\\PC{0,12}") {
            let _ = parse_time(&text);
        }
    }
}
