//! `cadence voice devices`.

use serde_json::json;

use super::super::Context;
use crate::error::{CommandResult, Exit};
use crate::render::{BOLD, DIM, GREEN, Line, PLAIN, YELLOW, table};
use crate::voice::{self, Device, VoiceError};

/// List the microphones
///
/// Ends with code 1 where there is none, or voice is unavailable on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cadence voice devices\n  cadence voice devices --json | jq -r '.devices[].id'")]
pub struct Args {}

pub fn run(context: &Context, _args: &Args) -> CommandResult {
    let devices = voice::devices()?;
    if context.json {
        context.terminal.json(&json!({ "devices": devices }))?;
        return Ok(if devices.is_empty() { Exit::Failed } else { Exit::Done });
    }
    if devices.is_empty() {
        return Err(VoiceError::NoDevice.into());
    }
    context.terminal.print(&table(devices.iter().map(row).collect(), context.terminal.columns()))?;
    Ok(Exit::Done)
}

fn row(device: &Device) -> Vec<Line> {
    let mark = if device.is_default { Line::of(GREEN, "●") } else { Line::of(DIM, "○") };
    let format = match (&device.format, &device.problem) {
        (Some(format), _) => {
            let channels =
                if format.channels == 1 { "mono".to_owned() } else { format!("{} channels", format.channels) };
            Line::of(PLAIN, format!("{} Hz {channels}", format.rate))
        }
        (None, Some(problem)) => Line::of(YELLOW, problem),
        (None, None) => Line::new(),
    };
    vec![mark, Line::of(BOLD, &device.name), format, Line::of(DIM, &device.id)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::render::plain;
    use crate::voice::Format;

    #[test]
    fn microphones_are_lines_and_the_default_one_is_marked() {
        let device = |name: &str, id: &str, is_default| Device {
            name: name.into(),
            id: id.into(),
            is_default,
            format: Some(Format { channels: if is_default { 1 } else { 2 }, rate: 48_000, sample: "i16".into() }),
            problem: None,
        };
        let mut busy = device("Webcam", "alsa:plughw:CARD=2,DEV=0", false);
        busy.format = None;
        busy.problem = Some("used by another program".into());
        let devices =
            [device("Headset", "pulseaudio:alsa_input.usb", true), device("Built-in", "pulseaudio:pci", false), busy];
        insta::assert_snapshot!(plain(&table(devices.iter().map(row).collect(), None)), @r"
        ●  Headset   48000 Hz mono            pulseaudio:alsa_input.usb
        ○  Built-in  48000 Hz 2 channels      pulseaudio:pci
        ○  Webcam    used by another program  alsa:plughw:CARD=2,DEV=0
        ");
    }
}
