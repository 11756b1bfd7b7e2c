//! What is kept between runs: tab, selection, split.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::state::Tab;

/// Share of the width that the list has, in percent.
pub const SPLIT: u16 = 42;

/// The look of the dashboard when it was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Saved {
    pub tab: Tab,
    pub selected: Option<Uuid>,
    pub grouped: bool,
    pub split: u16,
}

impl Default for Saved {
    fn default() -> Self {
        Self { tab: Tab::default(), selected: None, grouped: false, split: SPLIT }
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("dashboard.json")
}

/// What was saved; where that cannot be read, the usual look: nothing of value is lost.
pub fn load(data: &Path) -> Saved {
    let saved: Option<Saved> = std::fs::read(path(data)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut saved = saved.unwrap_or_default();
    saved.split = saved.split.clamp(20, 80);
    saved
}

/// Takes effect as a whole or not at all.
pub fn save(data: &Path, saved: &Saved) -> std::io::Result<()> {
    std::fs::create_dir_all(data)?;
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    serde_json::to_writer(&mut file, saved)?;
    file.persist(path(data)).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn it_comes_back_as_it_was_left() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Saved::default());
        let left = Saved { tab: Tab::Review, selected: Some(Uuid::from_u128(3)), grouped: true, split: 30 };
        save(dir.path(), &left).unwrap();
        assert_eq!(load(dir.path()), left);
        std::fs::write(path(dir.path()), "{\"split\": 900, \"tab\": \"review\", \"new\": 1}").unwrap();
        assert_eq!(load(dir.path()), Saved { tab: Tab::Review, split: 80, ..Saved::default() });
        std::fs::write(path(dir.path()), "nonsense").unwrap();
        assert_eq!(load(dir.path()), Saved::default());
    }
}
