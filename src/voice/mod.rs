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
mod silence;
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

/// The device that is meant by an id, with or without its sound system, by a name, or by a part that only one name has.
pub fn chosen<'a>(wanted: &str, devices: &'a [Device]) -> Option<&'a Device> {
    let all: Vec<(String, String)> =
        devices.iter().map(|device| (device.name.clone(), device.bare_id().to_owned())).collect();
    devices.iter().find(|device| device.id == wanted).or_else(|| devices.get(choose(wanted, &all)?))
}

impl Device {
    /// The id without the name of its sound system, which is enough to name it.
    pub fn bare_id(&self) -> &str {
        self.id.split_once(':').map_or(self.id.as_str(), |(_, id)| id)
    }
}

/// The one of these (name, id) that is meant: exactly named, else the only one whose name has this in it.
fn choose(wanted: &str, all: &[(String, String)]) -> Option<usize> {
    let exact = all.iter().position(|(name, id)| wanted == id || wanted.eq_ignore_ascii_case(name));
    exact.or_else(|| {
        let part = wanted.trim().to_lowercase();
        let mut having = all.iter().enumerate().filter(|(_, (name, _))| name.to_lowercase().contains(&part));
        match (having.next(), having.next()) {
            (Some((index, _)), None) if !part.is_empty() => Some(index),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microphone_is_meant_by_its_id_its_name_or_a_part_that_only_it_has() {
        let all = [("Built-in Audio", "alsa_input.pci"), ("USB Headset", "alsa_input.usb-1"), ("USB Webcam", "usb")]
            .map(|(name, id)| (name.to_owned(), id.to_owned()));
        assert_eq!(choose("alsa_input.usb-1", &all), Some(1));
        assert_eq!(choose("usb webcam", &all), Some(2));
        assert_eq!(choose("headset", &all), Some(1));
        assert_eq!(choose("usb", &all), Some(2), "an id goes before a part of a name");
        assert_eq!(choose("USB", &all), None, "two have it");
        assert_eq!(choose("", &all), None);
        assert_eq!(choose("desk", &all), None);
    }
}
