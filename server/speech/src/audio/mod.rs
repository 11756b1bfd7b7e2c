//! Files and samples: what comes in, 16 kHz mono, what goes out, and where somebody speaks.

mod activity;
mod decode;
mod encode;
mod error;
mod format;
mod level;
mod opus;
mod resample;

use std::time::Duration;

pub use activity::{Activity, ActivityEvent, ActivitySettings, Summary, spoken_range, summary, trim};
pub use decode::{MAX_DURATION, decode, decode_within};
pub(crate) use encode::pcm16;
pub use encode::{flac, wav};
pub use error::AudioError;
pub use format::Format;
pub use level::{Level, SILENCE_DBFS};
pub use resample::Resampler;

/// Samples a second of everything that is listened to: what Whisper and the detection of speech work with.
pub const RATE: u32 = 16_000;

/// Sound: mono, [`RATE`] samples a second, each from -1 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clip {
    pub samples: Vec<f32>,
}

impl Clip {
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(RATE))
    }
}

/// How many samples of a [`Clip`] last so long.
fn samples_in(duration: Duration) -> usize {
    (duration.as_secs_f64() * f64::from(RATE)).round() as usize
}
