//! What was recorded, how it ended, and what was wrong with it.

use std::time::Duration;

use cadence_speech::audio::{Clip, Level};

/// Why a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody spoke and was then silent for the pause.
    Pause,
    /// The time was up.
    Limit,
    /// It was stopped by hand.
    Stopped,
    /// The device went away, and what the system said about it.
    Lost(String),
}

impl End {
    /// For people and programs that read JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Limit => "limit",
            Self::Stopped => "stopped",
            Self::Lost(_) => "lost",
        }
    }
}

/// A recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Take {
    pub clip: Clip,
    pub end: End,
    /// Name of the microphone.
    pub device: String,
    /// When somebody began to speak; none where nobody did.
    pub speech: Option<Duration>,
    /// Of the whole.
    pub level: Level,
    /// Frames of the device that came and had no place; 0 unless the machine stood still for seconds.
    pub dropped: u64,
    /// How often the device itself lost sound because nobody fetched it in time.
    pub overruns: u64,
}

impl Take {
    /// Quieter than this is a microphone that is muted or not connected, in dBFS: the noise of any open one is louder.
    const SILENT: f32 = -70.0;
    /// A larger part of the samples at the end of the scale is heard as a distortion.
    const DISTORTED: f32 = 0.001;

    /// What was wrong with it, the worst first; none where it can be used as it is.
    pub fn trouble(&self) -> Option<Trouble> {
        if let End::Lost(reason) = &self.end {
            return Some(Trouble::Lost(reason.clone()));
        }
        if self.level.peak < Self::SILENT {
            return Some(Trouble::Silent);
        }
        if self.level.clipped > Self::DISTORTED {
            return Some(Trouble::TooLoud);
        }
        if self.dropped + self.overruns > 0 {
            return Some(Trouble::Gaps);
        }
        self.speech.is_none().then_some(Trouble::NoSpeech)
    }
}

/// What is wrong with a recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The device went away; what was heard until then is kept.
    #[error("the microphone went away while it recorded")]
    Lost(String),
    #[error("nothing was heard, not even noise")]
    Silent,
    #[error("it was too loud: the sound is distorted")]
    TooLoud,
    #[error("some sound was lost: the machine was too busy")]
    Gaps,
    #[error("nobody was heard speaking")]
    NoSpeech,
}

impl Trouble {
    /// Whether the microphone does not work, so that trying again without doing something is no use.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Silent)
    }

    /// What can be done about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Lost(_) => "Connect it again; what was heard until then is kept.",
            Self::Silent => "The microphone may be muted, or another one is meant: see `cadence voice devices`.",
            Self::TooLoud => "Turn the microphone's level down, or keep some distance.",
            Self::Gaps => "Say it again while less is running.",
            Self::NoSpeech => "Speak closer to the microphone, or turn its level up.",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LOUD: Level = Level { peak: -6.0, rms: -25.0, clipped: 0.0 };

    fn take() -> Take {
        Take {
            clip: Clip { samples: vec![0.1; 16_000] },
            end: End::Pause,
            device: "Headset".into(),
            speech: Some(Duration::from_millis(300)),
            level: LOUD,
            dropped: 0,
            overruns: 0,
        }
    }

    #[test]
    fn what_is_wrong_is_said_the_worst_first() {
        let clipped = |clipped| Level { peak: 0.0, clipped, ..LOUD };
        let silent = Level { peak: -90.0, rms: -95.0, clipped: 0.0 };
        assert_eq!(take().trouble(), None);
        assert_eq!(Take { speech: None, ..take() }.trouble(), Some(Trouble::NoSpeech));
        assert_eq!(Take { overruns: 1, ..take() }.trouble(), Some(Trouble::Gaps));
        assert_eq!(Take { level: clipped(0.0005), ..take() }.trouble(), None);
        assert_eq!(Take { level: clipped(0.002), overruns: 1, ..take() }.trouble(), Some(Trouble::TooLoud));
        assert_eq!(Take { level: silent, speech: None, ..take() }.trouble(), Some(Trouble::Silent));
        let lost = Take { end: End::Lost("gone".into()), level: silent, ..take() };
        assert_eq!(lost.trouble(), Some(Trouble::Lost("gone".into())));
    }
}
