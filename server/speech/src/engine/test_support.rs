//! What the tests of engines share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Patience, Request};
use crate::audio::{Clip, decode};

/// The ring provider, once for each process.
pub(super) fn tls() {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A sentence that was spoken.
pub(super) fn sentence() -> Clip {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/audio/speech.wav");
    decode(&std::fs::read(path).expect("the fixture")).expect("a sentence")
}

pub(super) fn request() -> Request {
    Request { clip: Arc::new(sentence()), ..Request::default() }
}

/// Waits that are too short to be noticed, but a limit that a busy machine keeps.
pub(super) fn brisk() -> Patience {
    Patience {
        limit: Duration::from_secs(30),
        connect: Duration::from_secs(10),
        backoff: Duration::from_millis(1),
        longest_wait: Duration::from_millis(50),
    }
}
