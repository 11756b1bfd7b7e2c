use std::time::Duration;

use super::Format;

/// Why a file is not listened to, or cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// The bytes begin like no format that is understood.
    #[error("this is no audio file of a known kind; WAV, MP3, M4A, FLAC, Ogg and WebM are understood")]
    Unrecognised,
    /// A kind of file that is understood holds something that is not.
    #[error("this {format} file cannot be played: {what}")]
    Unsupported { format: Format, what: String },
    /// The file breaks the rules of its format.
    #[error("this {format} file is damaged: {what}")]
    Damaged { format: Format, what: String },
    /// Not one sample was in the file: it was cut off before its sound began, or holds none.
    #[error("there is no sound in this {0} file; it may have been cut off")]
    Empty(Format),
    /// The sound lasts longer than is listened to.
    #[error("the recording is longer than {} seconds", .limit.as_secs())]
    TooLong { limit: Duration },
    /// A clip could not be written as FLAC.
    #[error("the recording cannot be written as FLAC: {0}")]
    Encode(String),
}
