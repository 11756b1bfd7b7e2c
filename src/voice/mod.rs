//! The microphone: capture, level, the end of speech, push to talk, and speaking. No understanding here.
//!
//! Nothing of the system's sound is loaded before [`devices`] or [`start`] is called, and nothing that it prints reaches the
//! screen. Built without the feature `voice`, both say that this program has no microphone.
#![cfg_attr(
    not(feature = "voice"),
    allow(dead_code, reason = "there is no microphone of which all this could be said")
)]

mod capture;
#[cfg(feature = "voice")]
mod device;
mod error;
mod keyboard;
mod listener;
mod quiet;
#[cfg(feature = "voice")]
mod source;
mod speak;
#[cfg(not(feature = "voice"))]
mod stub;
mod take;
mod talk;

pub use capture::{Options, start};
#[cfg(feature = "voice")]
pub use device::devices;
pub use error::VoiceError;
pub use listener::Heard;
#[cfg(not(feature = "voice"))]
pub use stub::devices;
pub use take::{End, Take};
pub use {
    capture::Recorder,
    keyboard::Keyboard,
    speak::Speaker,
    take::Trouble,
    talk::{Action, Key, Kind as KeyKind, Talk},
};

use serde::Serialize;

/// A microphone, or something else that sound can be recorded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// As people know it; two may have the same.
    pub name: String,
    /// Names exactly this one: `pulseaudio:alsa_input.pci-0000_00_1f.3`, `alsa:plughw:CARD=PCH,DEV=0`.
    pub id: String,
    /// It is used where none is named.
    pub is_default: bool,
    /// What it would be recorded with; none where it cannot be opened now.
    pub format: Option<Format>,
    /// Why it cannot be opened now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a device gives its sound. All of it becomes 16 kHz mono.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Format {
    pub channels: u16,
    /// Frames a second.
    pub rate: u32,
    /// `i16`, `f32`, …
    pub sample: String,
}
