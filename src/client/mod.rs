//! The way to a server: the one that was named, or the user's own, started on demand.

pub mod embedded;
mod rest;
mod runtime;
mod select;
pub mod socket;
mod speech;
mod stream;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod stub;
mod transfer;

use std::sync::{Arc, RwLock};

use secrecy::SecretString;
use url::Url;

use crate::config::Settings;
use crate::error::CommandError;
pub use embedded::{Ephemeral, LOG_LIMIT};
pub use rest::Rest;
pub use runtime::{Announcement, Runtime, open_private_log, private_directory, token_file};
pub use speech::Speech;
pub use stream::{Item, Orders, PATIENCE, Stream};

/// Where a server is, and what it lets in.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub url: Url,
    pub token: Option<SecretString>,
}

impl Endpoint {
    /// Whether its address is this machine's.
    pub fn is_local(&self) -> bool {
        match self.url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }
}

/// How an endpoint is found again after the server was replaced.
#[derive(Clone, Debug)]
enum Origin {
    Named,
    Embedded(Box<Settings>),
    /// The process.
    Ephemeral(i32),
}

/// A server to talk to.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Arc<RwLock<Endpoint>>,
    origin: Origin,
    /// It was said that it shares no disk with this machine.
    remote: bool,
}

impl Client {
    /// The server of the settings; with none, the user's own, which is started where it does not run.
    pub async fn connect(settings: &Settings) -> Result<Self, CommandError> {
        if settings.server.is_some() {
            return Self::named(settings);
        }
        // It is of no use here, but whoever names a file shall hear that it is not there.
        settings.read_token()?;
        let endpoint = embedded::ensure(settings).await?;
        Ok(Self::of(endpoint, Origin::Embedded(Box::new(settings.clone()))))
    }

    /// The server of the settings, or the user's own where it runs; nothing is started.
    pub async fn find(settings: &Settings) -> Result<Option<Self>, CommandError> {
        if settings.server.is_some() {
            return Self::named(settings).map(Some);
        }
        settings.read_token()?;
        let found = embedded::find(settings).await?;
        Ok(found.map(|(_, endpoint)| Self::of(endpoint, Origin::Embedded(Box::new(settings.clone())))))
    }

    /// A server of one's own that ends with the command.
    pub fn ephemeral(server: &Ephemeral) -> Self {
        Self::of(server.endpoint.clone(), Origin::Ephemeral(server.pid()))
    }

    fn named(settings: &Settings) -> Result<Self, CommandError> {
        let url = settings.server.clone().ok_or_else(|| CommandError::usage("no server is named"))?;
        let mut endpoint = Endpoint { url, token: settings.read_token()? };
        // The user's own server needs no token to be named with it.
        if endpoint.token.is_none() && endpoint.is_local() {
            let runtime = Runtime::new(&settings.runtime_dir);
            if let Some(own) = runtime.running().filter(|own| same_place(&own.url, &endpoint.url)) {
                endpoint.token = runtime.token_of(&own);
            }
        }
        Ok(Self { remote: settings.remote, ..Self::of(endpoint, Origin::Named) })
    }

    fn of(endpoint: Endpoint, origin: Origin) -> Self {
        Self { endpoint: Arc::new(RwLock::new(endpoint)), origin, remote: false }
    }

    /// Whether the server sees the files of this machine, so that paths and variables mean the same to it.
    pub fn shares_disk(&self) -> bool {
        !self.remote && self.endpoint().is_local()
    }

    pub fn endpoint(&self) -> Endpoint {
        match self.endpoint.read() {
            Ok(endpoint) => endpoint.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    pub fn is_ephemeral(&self) -> bool {
        matches!(self.origin, Origin::Ephemeral(_))
    }

    /// Whether the server has ended, and nobody will start it again.
    fn is_gone(&self) -> bool {
        matches!(self.origin, Origin::Ephemeral(pid) if !runtime::alive(pid))
    }

    /// Calls of the REST API.
    pub fn rest(&self) -> Result<Rest, CommandError> {
        Rest::new(self.endpoint())
    }

    /// After the connection was lost: the user's own server may have been replaced, and be elsewhere now.
    async fn refresh(&self) -> Result<(), CommandError> {
        if let Origin::Embedded(settings) = &self.origin {
            let endpoint = embedded::ensure(settings).await?;
            match self.endpoint.write() {
                Ok(mut current) => *current = endpoint,
                Err(poisoned) => *poisoned.into_inner() = endpoint,
            }
        }
        Ok(())
    }
}

fn same_place(one: &Url, other: &Url) -> bool {
    one.host_str() == other.host_str() && one.port_or_known_default() == other.port_or_known_default()
}
