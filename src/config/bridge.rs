//! The section `[bridge]` of the settings file: an endpoint that gets tasks of `cadence serve`.

use std::path::{Path, PathBuf};

use cadence_server::BridgeEndpoint;
use serde::Deserialize;
use url::Url;

use super::{Origin, TokenSource, expand, read_token_file};
use crate::error::CommandError;

/// Tasks that an endpoint has at once, unless the settings say.
const CAPACITY: u32 = 4;

/// The section as it is written. The key itself is in a file of its own or in the environment, never here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub endpoint: Option<String>,
    pub key_file: Option<PathBuf>,
    pub capacity: Option<u32>,
    #[serde(default)]
    pub labels: Vec<String>,
}

/// What is set of the endpoint, by the environment over the file.
#[derive(Clone, Debug)]
pub struct Bridge {
    endpoint: Option<(String, Origin)>,
    /// The key, also that of `cadence daemon --listen`.
    key: Option<TokenSource>,
    key_of_file: Option<TokenSource>,
    capacity: Option<u32>,
    labels: Vec<String>,
}

impl Bridge {
    pub(super) fn layer(
        (endpoint, key): (Option<String>, Option<TokenSource>),
        file: Section,
        path: &Path,
        env: super::Lookup<'_>,
    ) -> Self {
        let from_file = || Origin::File(path.to_owned());
        Self {
            endpoint: endpoint
                .map(|url| (url, Origin::Variable("VPS_ENDPOINT")))
                .or_else(|| file.endpoint.map(|url| (url, from_file()))),
            key,
            key_of_file: file.key_file.map(|key| TokenSource::File(expand(&key, env), from_file())),
            capacity: file.capacity,
            labels: file.labels,
        }
    }

    /// The key of this machine as an endpoint: of a file that a flag names, or the environment.
    pub fn own_key(&self, flag: Option<&Path>) -> Result<Option<secrecy::SecretString>, CommandError> {
        match (flag, &self.key) {
            (Some(path), _) => read_token_file(path, &Origin::Flag("--key-file")).map(Some),
            (None, Some(key)) => key.read().map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The endpoint, with what flags say over the rest.
    pub fn resolve(&self, url: Option<&str>, key: Option<&Path>) -> Result<Option<BridgeEndpoint>, CommandError> {
        let flag = url.map(|url| (url.to_owned(), Origin::Flag("--bridge")));
        let Some((text, origin)) = flag.or_else(|| self.endpoint.clone()) else { return Ok(None) };
        let url = parse(&text, &origin)?;
        let key = match key {
            Some(path) => Some(read_token_file(path, &Origin::Flag("--bridge-key-file"))?),
            None => self.key.as_ref().or(self.key_of_file.as_ref()).map(TokenSource::read).transpose()?,
        };
        let capacity = self.capacity.unwrap_or(CAPACITY);
        if !(1..=cadence_protocol::MAX_CAPACITY).contains(&capacity) {
            let most = cadence_protocol::MAX_CAPACITY;
            return Err(CommandError::usage(format!("`bridge.capacity` is {capacity}, and must be 1 to {most}")));
        }
        if let Some(label) = self.labels.iter().find(|label| label.is_empty() || label.len() > 50) {
            let label = crate::text::clean_line(label);
            return Err(CommandError::usage(format!("`{label}` in `bridge.labels` is no label: 1 to 50 bytes")));
        }
        Ok(Some(BridgeEndpoint { url, key, capacity, labels: self.labels.clone() }))
    }
}

/// An endpoint's address.
pub fn parse(text: &str, origin: &Origin) -> Result<Url, CommandError> {
    super::parse_address(text, origin, "endpoint", "https://vps.example.org:8384").map_err(|error| match origin {
        Origin::File(_) => error.hint("`cadence config set bridge.endpoint URL` corrects it."),
        _ => error,
    })
}
