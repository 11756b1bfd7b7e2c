//! The microphones of this machine: which there are, and which one is meant.

use cpal::traits::{DeviceTrait as _, HostTrait as _};
use cpal::{ErrorKind, Host, HostId};

use super::quiet::Quiet;
use super::{Device, Format, VoiceError, choose};
use crate::text;

/// Of a sink of PulseAudio: what is played, not what is said.
const MONITOR: &str = ".monitor";

/// PulseAudio, and PipeWire where it stands in for it.
const SERVER: &str = "pulseaudio";

/// Names in ALSA that lead to a sound server or to what the user configured.
const ALSA_VIRTUAL: [&str; 4] = ["default", "pulse", "pipewire", "jack"];

/// The microphones, the default one first.
///
/// Where PulseAudio or PipeWire serves, these are its sources without the monitors of outputs; else the capture devices of
/// ALSA, or of CoreAudio. Each is asked for its format, which may take some milliseconds for one.
///
/// # Errors
/// [`VoiceError::Unavailable`] where there is neither a sound server nor a sound library.
pub fn devices() -> Result<Vec<Device>, VoiceError> {
    let _quiet = Quiet::new();
    let host = host()?;
    let default = host.default_input_device().and_then(|device| device.id().ok());
    let mut found: Vec<Device> = microphones(&host)?
        .iter()
        .filter_map(|device| {
            let id = device.id().ok()?;
            let (format, problem) = match device.default_input_config() {
                Ok(config) => (Some(format(&config)), None),
                Err(error) => (None, Some(error.to_string())),
            };
            let is_default = default.as_ref() == Some(&id);
            Some(Device { name: name(device), id: id.to_string(), is_default, format, problem })
        })
        // A default that leads nowhere is a machine without a microphone.
        .filter(|device| {
            device.problem.is_none() || !ALSA_VIRTUAL.iter().any(|name| device.id == format!("alsa:{name}"))
        })
        .collect();
    found.sort_by(|a, b| b.is_default.cmp(&a.is_default).then_with(|| a.name.cmp(&b.name)));
    Ok(found)
}

/// The device with this name or id, or the default one.
pub(super) fn find(wanted: Option<&str>) -> Result<cpal::Device, VoiceError> {
    let host = host()?;
    let Some(wanted) = wanted else {
        let default = host.default_input_device().filter(|device| !is_monitor(device));
        return default.ok_or(VoiceError::NoDevice);
    };
    if let Ok(id) = wanted.parse::<cpal::DeviceId>() {
        let of_id = cpal::host_from_id(id.host()).ok().and_then(|host| host.device_by_id(&id));
        if let Some(device) = of_id {
            return Ok(device);
        }
    }
    let all = microphones(&host)?;
    let unknown = || VoiceError::Unknown { name: text::clean_line(wanted), known: all.iter().map(name).collect() };
    let index = choose(wanted, &all.iter().map(|device| (name(device), bare_id(device))).collect::<Vec<_>>());
    index.and_then(|index| all.get(index)).cloned().ok_or_else(unknown)
}

/// The first sound system that answers.
fn host() -> Result<Host, VoiceError> {
    let mut reason = None;
    for id in preferred() {
        match cpal::host_from_id(id) {
            Ok(host) => return Ok(host),
            Err(error) => reason = Some(error.to_string()),
        }
    }
    let reason = reason.unwrap_or_default();
    if is_absent(&reason) {
        return Err(VoiceError::NoLibrary);
    }
    Err(VoiceError::Unavailable(text::clean_line(&reason)))
}

/// Whether this is what the functions of a libasound answer that is not installed: see `alsa/loader.c`. The `alsa` crate has no
/// words for it, so its number tells.
#[cfg(target_os = "linux")]
fn is_absent(reason: &str) -> bool {
    reason.contains(&format!("({})", nix::errno::Errno::ELIBACC as i32))
}

#[cfg(not(target_os = "linux"))]
fn is_absent(_reason: &str) -> bool {
    false
}

/// The sound servers first: they know the names of devices, share them, and need no library.
fn preferred() -> Vec<HostId> {
    let mut ids = cpal::available_hosts();
    ids.sort_by_key(|id| id.to_string() == "alsa");
    ids
}

fn microphones(host: &Host) -> Result<Vec<cpal::Device>, VoiceError> {
    let all = host.input_devices().map_err(|error| VoiceError::Unavailable(text::clean_line(&error.to_string())))?;
    let of_alsa = host.id().to_string() == "alsa";
    let mut kept: Vec<cpal::Device> = Vec::new();
    for device in all {
        let id = bare_id(&device);
        // ALSA lists every plugin that could be put before a device. `plughw` is the device itself, in any format.
        let wanted = if of_alsa {
            ALSA_VIRTUAL.contains(&id.as_str()) || id.starts_with("plughw:")
        } else {
            !id.ends_with(MONITOR)
        };
        // It also lists each card by its name and by its number.
        if wanted && !(of_alsa && id.starts_with("plughw:") && kept.iter().any(|known| name(known) == name(&device))) {
            kept.push(device);
        }
    }
    Ok(kept)
}

/// Whether ALSA leads to something that is no card, such as a sound server.
pub(super) fn is_virtual(device: &cpal::Device) -> bool {
    device.id().is_ok_and(|id| id.host().to_string() == "alsa" && ALSA_VIRTUAL.contains(&id.id()))
}

fn is_monitor(device: &cpal::Device) -> bool {
    bare_id(device).ends_with(MONITOR)
}

fn bare_id(device: &cpal::Device) -> String {
    device.id().map(|id| id.id().to_owned()).unwrap_or_default()
}

/// What people call it; it comes from outside and is printed.
pub(super) fn name(device: &cpal::Device) -> String {
    let described = device.description().map(|description| text::clean_line(description.name())).unwrap_or_default();
    if described.trim().is_empty() { text::clean_line(&bare_id(device)) } else { described }
}

fn format(config: &cpal::SupportedStreamConfig) -> Format {
    Format { channels: config.channels(), rate: config.sample_rate(), sample: config.sample_format().to_string() }
}

/// Asks a sound server whether it still has a device.
///
/// A server moves a recording whose device was unplugged to another one, and be it what the loudspeakers play, without a word.
/// ALSA and CoreAudio report a lost device themselves.
pub(super) struct Presence {
    host: Host,
    id: cpal::DeviceId,
}

impl Presence {
    /// None where no sound server has the device, or it does not answer.
    pub(super) fn of(id: cpal::DeviceId) -> Option<Self> {
        if id.host().to_string() != SERVER {
            return None;
        }
        Some(Self { host: cpal::host_from_id(id.host()).ok()?, id })
    }

    /// None where the server does not answer any more.
    pub(super) fn lasts(&self) -> Option<bool> {
        let mut all = self.host.input_devices().ok()?;
        Some(all.any(|device| device.id().is_ok_and(|known| known == self.id)))
    }
}

/// What an error of the sound system means for the device with this name.
pub(super) fn explain(error: &cpal::Error, device: String) -> VoiceError {
    let reason = text::clean_line(&error.to_string());
    match error.kind() {
        ErrorKind::DeviceNotAvailable => VoiceError::NoDevice,
        ErrorKind::PermissionDenied => VoiceError::Denied { device, reason },
        ErrorKind::DeviceBusy => VoiceError::Busy { device, reason },
        ErrorKind::UnsupportedConfig | ErrorKind::UnsupportedOperation => VoiceError::Unsupported { device, reason },
        ErrorKind::HostUnavailable => VoiceError::Unavailable(reason),
        _ => VoiceError::Failed { device, reason },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn errors_of_the_system_are_told_apart() {
        let of = |kind: ErrorKind| explain(&cpal::Error::new(kind), "Headset".into());
        assert_eq!(of(ErrorKind::DeviceNotAvailable), VoiceError::NoDevice);
        assert!(matches!(of(ErrorKind::PermissionDenied), VoiceError::Denied { device, .. } if device == "Headset"));
        assert!(matches!(of(ErrorKind::DeviceBusy), VoiceError::Busy { .. }));
        assert!(matches!(of(ErrorKind::UnsupportedConfig), VoiceError::Unsupported { .. }));
        assert!(matches!(of(ErrorKind::BackendError), VoiceError::Failed { .. }));
    }
}
