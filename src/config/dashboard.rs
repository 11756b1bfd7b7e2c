//! The section `[dashboard]` of the settings file.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How the dashboard looks and what its keys do. What keys and colours may be is known where they are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {
    pub theme: Option<crate::tui::ThemeName>,
    /// The mouse selects and scrolls; without it the terminal's own selection works as usual.
    pub mouse: Option<bool>,
    /// Whether the desktop is told when something needs a person.
    pub notify: Option<bool>,
    /// Whether that is spoken, too.
    pub speak: Option<bool>,
    /// Single colours of the theme by their role: `good = "#8fce8a"`.
    #[serde(default)]
    pub colors: BTreeMap<String, String>,
    /// Keys by what they do: `pause = ["p", "ctrl-s"]`, or one alone.
    #[serde(default)]
    pub keys: BTreeMap<String, OneOrMore>,
}

/// One key, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub fn all(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::More(more) => more.clone(),
        }
    }
}
