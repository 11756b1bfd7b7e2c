//! The section `[limits]`: what a server allows.

use serde::Deserialize;

use super::file::Dollars;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// What each user may spend in a calendar month in UTC, over all agents and machines.
    pub month_usd: Option<Dollars>,
}
