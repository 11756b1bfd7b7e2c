//! Engines that make text of speech.
//!
//! [`OpenAi`] speaks to the Whisper API and to whatever is compatible with it, [`Deepgram`] to Deepgram, also while somebody
//! still speaks ([`Live`]), and `Local` (feature `local`) runs whisper.cpp in the process. [`Engines`] tries them in an order.
//! HTTP clients need the process's TLS provider: install rustls's before the first engine is made.

mod chain;
mod deepgram;
mod error;
mod http;
mod language;
#[cfg(feature = "local")]
mod local;
pub mod models;
mod openai;
mod plausible;
#[cfg(test)]
mod test_support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cadence_protocol::Segment;

use crate::audio::Clip;

pub use chain::{Engines, EnginesError, Heard};
pub use deepgram::{Deepgram, DeepgramSettings, Live};
pub use error::{EngineError, ErrorKind};
pub use http::Patience;
#[cfg(feature = "local")]
pub use local::{Local, LocalSettings};
pub use openai::{OpenAi, OpenAiSettings};
pub use plausible::plausible;

/// A future that can be kept in a box; engines are chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that makes text of speech.
pub trait Engine: Send + Sync {
    /// The name by which it is configured and reported: `openai`, `deepgram`, `local`.
    fn name(&self) -> &'static str;

    /// The text of a recording.
    fn transcribe<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Transcript, EngineError>>;

    /// Gets ready, and says whether it would hear now as far as can be told without a recording: opens the connection and asks
    /// for something that costs nothing, or loads the model.
    ///
    /// # Errors
    /// [`ErrorKind::Auth`] where the key is refused, [`ErrorKind::Unavailable`] or [`ErrorKind::Timeout`] where there is no
    /// connection, [`ErrorKind::Unusable`] where there is no model.
    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Gets ready while somebody still speaks. A failure shows at the request.
    fn warm_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.ready().await {
                tracing::debug!(%error, "an engine is not ready ahead");
            }
        })
    }
}

/// What is to be transcribed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub clip: Arc<Clip>,
    /// ISO 639-1 code of what is spoken; none lets the engine find out.
    pub language: Option<String>,
    /// Text in the style of what may be said, for engines that continue a text. Its end counts most.
    pub prompt: Option<String>,
    /// Identifiers and names that may be said, the most useful first, for engines that listen for terms.
    pub keyterms: Vec<String>,
}

/// What an engine heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    pub text: String,
    /// ISO 639-1 code, where the engine told or was told.
    pub language: Option<String>,
    /// In order; empty where the engine does not tell.
    pub segments: Vec<Segment>,
    /// [`Engine::name`] of the engine that heard it.
    pub engine: &'static str,
    pub model: Option<String>,
}
