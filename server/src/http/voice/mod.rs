//! What is said: audio to text, text to what it wants.

mod parse;
mod sound;
mod stream;
mod transcribe;

use axum::http::StatusCode;

use crate::http::error::Failure;
use crate::voice::HearError;

pub use parse::{__path_parse, checked, parse};
pub use stream::{__path_stream, stream};
pub use transcribe::{__path_command, __path_transcribe, command, transcribe};

/// Largest recording, in bytes: what Whisper's API takes.
pub const LARGEST: usize = 25 * 1024 * 1024;

impl From<HearError> for Failure {
    fn from(error: HearError) -> Self {
        let status = match error.code() {
            "bad_audio" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "silence" => StatusCode::UNPROCESSABLE_ENTITY,
            "engine_failed" if !error.passes() => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let failure = Self::new(status, error.code(), error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
