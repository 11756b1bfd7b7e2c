//! Why nothing can be recorded or spoken, and what to do about it.

use crate::error::CommandError;

/// Why the microphone cannot be used, or nothing can be spoken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoiceError {
    /// The program has no code for a microphone.
    #[cfg(not(feature = "voice"))]
    #[error("voice is unavailable: this program was built without it")]
    NotBuilt,
    /// Neither a sound server nor ALSA's library is there.
    #[error("voice is unavailable: no sound server runs and libasound.so.2 is not installed")]
    NoLibrary,
    /// The system's sound does not work, and what it says about it.
    #[error("voice is unavailable: {0}")]
    Unavailable(String),
    #[error("no microphone was found")]
    NoDevice,
    /// No device has this name or id.
    #[error("there is no microphone `{name}`")]
    Unknown { name: String, known: Vec<String> },
    #[error("the microphone {device} may not be used")]
    Denied { device: String, reason: String },
    #[error("the microphone {device} is used by another program")]
    Busy { device: String, reason: String },
    /// It opens, but not with anything that can be recorded.
    #[error("the microphone {device} gives no sound that can be recorded")]
    Unsupported { device: String, reason: String },
    #[error("the microphone {device} cannot be opened")]
    Failed { device: String, reason: String },
    /// It neither opened nor failed within the time.
    #[error("the microphone does not open")]
    Hangs,
    /// No program that speaks is installed, or not the one that the settings name.
    #[error("nothing that speaks was found: {0}")]
    NoSpeaker(String),
    #[error("{program} cannot speak")]
    Speaker { program: String, reason: String },
}

impl VoiceError {
    /// What the system said, where it said something.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Denied { reason, .. }
            | Self::Busy { reason, .. }
            | Self::Unsupported { reason, .. }
            | Self::Failed { reason, .. }
            | Self::Speaker { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// What can be done about it.
    pub fn hint(&self) -> String {
        let macos = cfg!(target_os = "macos");
        match self {
            #[cfg(not(feature = "voice"))]
            Self::NotBuilt => "Use a build with the feature `voice`, or write instead of speaking.".into(),
            Self::NoLibrary => {
                "Install it (Debian: apt-get install libasound2, from 13 and Ubuntu 24.04 on libasound2t64; \
                                Fedora: dnf install alsa-lib), or write instead of speaking."
                    .into()
            }
            Self::Unavailable(_) if macos => "Write instead of speaking, or try again after logging in.".into(),
            Self::Unavailable(_) => {
                "Look at what configures ALSA (~/.asoundrc, /etc/asound.conf), or write instead of speaking.".into()
            }
            Self::NoDevice => "Connect a microphone and look at `cadence voice devices`.".into(),
            Self::Unknown { known, .. } if known.is_empty() => "No microphone is connected.".into(),
            Self::Unknown { known, .. } => format!("There are: {}.", known.join(", ")),
            Self::Denied { .. } if macos => {
                "Allow the terminal to use the microphone: System Settings, Privacy & Security, Microphone.".into()
            }
            Self::Denied { .. } => {
                "Add yourself to the group `audio`, then log in again: sudo usermod -aG audio $USER.".into()
            }
            Self::Busy { .. } => "End the other program, or name another microphone with --device.".into(),
            Self::Unsupported { .. } | Self::Failed { .. } => {
                "Try another microphone: `cadence voice devices` lists them, --device names one.".into()
            }
            Self::Hangs => {
                "The sound server may hang: restart it (systemctl --user restart pipewire pulseaudio).".into()
            }
            Self::NoSpeaker(_) if macos => "`say` is part of macOS; look at your PATH.".into(),
            Self::NoSpeaker(_) => "Install one, for example: apt-get install espeak-ng.".into(),
            Self::Speaker { .. } => "Try it in the terminal, or name another command in the settings.".into(),
        }
    }
}

impl From<VoiceError> for CommandError {
    fn from(error: VoiceError) -> Self {
        let made = match &error {
            VoiceError::Unknown { .. } => Self::usage(error.to_string()),
            _ => Self::failed(error.to_string()),
        };
        let made = match error.reason() {
            Some(reason) => made.caused_by(reason.to_owned()),
            None => made,
        };
        made.hint(error.hint())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Exit;

    #[test]
    fn an_error_says_what_happened_why_and_what_to_do() {
        let busy = VoiceError::Busy { device: "Headset".into(), reason: "Device or resource busy".into() };
        let error = CommandError::from(busy);
        assert_eq!(error.exit, Exit::Failed);
        assert_eq!(error.message(), "the microphone Headset is used by another program");
        assert_eq!(error.causes(), ["Device or resource busy"]);
        assert!(error.hints()[0].contains("--device"));
    }

    #[test]
    fn a_name_that_is_not_there_is_a_wrong_command_line() {
        let error = VoiceError::Unknown { name: "Desk".into(), known: vec!["Headset".into(), "Webcam".into()] };
        let error = CommandError::from(error);
        assert_eq!(error.exit, Exit::Usage);
        assert_eq!(error.hints(), ["There are: Headset, Webcam."]);
    }
}
