//! Files and samples: what comes in, 16 kHz mono, what goes out, and where somebody speaks.

use std::time::Duration;

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
