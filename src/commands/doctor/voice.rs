//! What speaking needs: a microphone, an engine that hears, a program that answers. None of it is essential.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use cadence_server::{SET_UP_AN_ENGINE, VOICE_MODELS, VoiceServices, hint_of_engine};
use cadence_speech::engine::Engine;
use cadence_speech::engine::models::{MODELS, Models, REPOSITORY};
use cadence_speech::settings::EngineKind;
use futures_util::future::join_all;
use url::Url;

use super::{Check, PATIENCE, State};
use crate::config::Settings;
use crate::speech;
use crate::voice::{self, Device, Speaker, VoiceError};

/// All of it, within [`PATIENCE`]: what does not answer is not waited for longer.
pub async fn checks(settings: &Settings) -> Vec<Check> {
    let (microphone, engines) = tokio::join!(microphone(settings), engines(settings));
    let mut checks = vec![microphone];
    checks.extend(engines);
    checks.extend([speaker(settings), models(settings)]);
    checks
}

async fn microphone(settings: &Settings) -> Check {
    // A sound server may hang.
    let found = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(voice::devices)).await;
    let devices = match found {
        Ok(Ok(devices)) => devices,
        Ok(Err(_)) | Err(_) => Err(VoiceError::Hangs),
    };
    judged(devices, settings.voice.device.as_deref())
}

/// What the microphones that there are mean for whoever wants this one, or any.
fn judged(devices: Result<Vec<Device>, VoiceError>, wanted: Option<&str>) -> Check {
    let warning = |error: &VoiceError| Check::new("microphone", State::Warning, error.to_string()).hint(error.hint());
    let devices = match devices {
        Ok(devices) if devices.is_empty() => return warning(&VoiceError::NoDevice),
        Ok(devices) => devices,
        Err(error) => return warning(&error),
    };
    let chosen = match wanted {
        Some(wanted) => voice::chosen(wanted, &devices),
        None => devices.iter().find(|device| device.is_default).or(devices.first()),
    };
    let Some(device) = chosen else {
        let known = devices.iter().map(|device| device.name.clone()).collect();
        let unknown = VoiceError::Unknown { name: wanted.unwrap_or_default().to_owned(), known };
        let hint = format!("{} The setting is `voice.device`.", unknown.hint());
        return Check::new("microphone", State::Warning, unknown.to_string()).hint(hint);
    };
    if let Some(problem) = &device.problem {
        return Check::new("microphone", State::Warning, format!("{}: {problem}", device.name))
            .hint("Try it: `cadence voice record try.wav`.");
    }
    let others = match devices.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    Check::new("microphone", State::Ok, format!("{}{others}", device.name))
}

/// Those that are named, or set up: whether they answer, and let in whoever has the key.
async fn engines(settings: &Settings) -> Vec<Check> {
    if let Some(url) = &settings.server {
        return vec![Check::new("speech", State::Ok, format!("whatever the server at {url} has"))];
    }
    let http = OnceLock::new();
    let services = VoiceServices::new(&settings.voice, speech::keys(), &http);
    let named = !settings.voice.engines.is_empty();
    let each = services.each(&settings.data_dir.join(VOICE_MODELS)).into_iter();
    let asked = each.map(async |(kind, engine)| match engine {
        Ok(Some(engine)) => Some(reached(kind, &engine).await),
        Ok(None) => named.then(|| not_set_up(kind)),
        Err(why) => Some(misfit(kind, &why)),
    });
    let checks: Vec<Check> = join_all(asked).await.into_iter().flatten().collect();
    if checks.is_empty() {
        return vec![Check::new("speech", State::Warning, "no engine is set up").hint(SET_UP_AN_ENGINE)];
    }
    checks
}

async fn reached(kind: EngineKind, engine: &Arc<dyn Engine>) -> Check {
    // Loading a model takes seconds, and its file was looked at.
    if kind == EngineKind::Local {
        return Check::new("speech", State::Ok, "local: its model is here");
    }
    match tokio::time::timeout(PATIENCE, engine.ready()).await {
        Ok(Ok(())) => Check::new("speech", State::Ok, format!("{} answers", kind.as_str())),
        Ok(Err(error)) => Check::new("speech", State::Warning, error.to_string()).hint(hint_of_engine(&error)),
        Err(_) => Check::new("speech", State::Warning, format!("{} does not answer", kind.as_str()))
            .hint("Check the engine's URL and the network, or configure a second engine."),
    }
}

/// An engine that cannot be used as it is set up.
fn misfit(kind: EngineKind, why: &str) -> Check {
    let hint = match kind {
        EngineKind::Local if cfg!(not(feature = "local")) => "Take it out of `voice.engines`, or `make desktop`.",
        EngineKind::Local => "`cadence voice models` lists those that are here; the setting is `voice.local.model`.",
        EngineKind::Openai | EngineKind::Deepgram => "`cadence config get` shows the settings.",
    };
    Check::new("speech", State::Warning, format!("{}: {why}", kind.as_str())).hint(hint)
}

fn not_set_up(kind: EngineKind) -> Check {
    let (what, hint) = match kind {
        EngineKind::Openai => (
            "no OPENAI_API_KEY, and no address of your own",
            "Set OPENAI_API_KEY, or: cadence config set voice.openai.base_url http://127.0.0.1:8080/v1",
        ),
        EngineKind::Deepgram => ("no DEEPGRAM_API_KEY", "Set DEEPGRAM_API_KEY, or take it out of `voice.engines`."),
        EngineKind::Local => ("no model is here", "Get one: `cadence voice models pull base.en`."),
    };
    Check::new("speech", State::Warning, format!("{}: {what}", kind.as_str())).hint(hint)
}

/// What answers are spoken with.
fn speaker(settings: &Settings) -> Check {
    let found = match settings.voice.speak.as_deref().unwrap_or("auto") {
        "off" => return Check::new("answers", State::Ok, "are shown, not spoken (voice.speak)"),
        "auto" => Speaker::find(None),
        named => Speaker::find(Some(named)),
    };
    match found {
        Ok(speaker) => Check::new("answers", State::Ok, format!("are spoken by {}", speaker.name())),
        Err(error) => Check::new("answers", State::Warning, error.to_string()).hint(error.hint()),
    }
}

/// Models that were pulled, of use in a build that can run them.
fn models(settings: &Settings) -> Check {
    let here = here(&settings.data_dir.join(VOICE_MODELS));
    let runs = cfg!(feature = "local");
    let found = if here.is_empty() { "none is here".to_owned() } else { here.join(", ") };
    let check = |state| Check::new("models", state, &found);
    match (runs, here.is_empty()) {
        (true, true) => {
            check(State::Ok).hint("For speech that stays on this machine: `cadence voice models pull base.en`.")
        }
        (false, false) => check(State::Warning).hint("This build cannot run them: it has no local speech engine."),
        _ => check(State::Ok),
    }
}

fn here(directory: &Path) -> Vec<&'static str> {
    let Ok(repository) = Url::parse(REPOSITORY) else { return Vec::new() };
    let models = Models::new(directory.to_owned(), repository);
    MODELS.iter().filter(|model| models.has(model)).map(|model| model.name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::lines;
    use super::*;
    use crate::render::plain;

    fn device(name: &str, id: &str, is_default: bool) -> Device {
        Device { name: name.into(), id: id.into(), is_default, format: None, problem: None }
    }

    #[test]
    fn the_microphone_that_is_wanted_is_there_or_it_is_said_which_are() {
        let two = || Ok(vec![device("Headset", "pulseaudio:usb", true), device("Webcam", "pulseaudio:cam", false)]);
        let mut busy = device("Headset", "pulseaudio:usb", true);
        busy.problem = Some("used by another program".into());
        let checks = [
            judged(two(), None),
            judged(two(), Some("webc")),
            judged(two(), Some("cam")),
            judged(two(), Some("Desk")),
            judged(Ok(vec![busy]), None),
            judged(Ok(Vec::new()), None),
            judged(Err(VoiceError::Hangs), Some("Headset")),
        ];
        insta::assert_snapshot!(plain(&lines(&checks)), @"
        ✓ microphone  Headset, and 1 more
        ✓ microphone  Webcam, and 1 more
        ✓ microphone  Webcam, and 1 more
        ! microphone  there is no microphone `Desk`
                      There are: Headset, Webcam. The setting is `voice.device`.
        ! microphone  Headset: used by another program
                      Try it: `cadence voice record try.wav`.
        ! microphone  no microphone was found
                      Connect a microphone and look at `cadence voice devices`.
        ! microphone  the microphone does not open
                      The sound server may hang: restart it (systemctl --user restart pipewire pulseaudio).
        ");
        assert!(checks.iter().all(|check| check.state != State::Failed));
    }

    #[test]
    fn an_engine_that_is_wanted_and_not_set_up_has_a_next_step() {
        let checks = [EngineKind::Openai, EngineKind::Deepgram, EngineKind::Local].map(not_set_up);
        insta::assert_snapshot!(plain(&lines(&checks)), @"
        ! speech      openai: no OPENAI_API_KEY, and no address of your own
                      Set OPENAI_API_KEY, or: cadence config set voice.openai.base_url http://127.0.0.1:8080/v1
        ! speech      deepgram: no DEEPGRAM_API_KEY
                      Set DEEPGRAM_API_KEY, or take it out of `voice.engines`.
        ! speech      local: no model is here
                      Get one: `cadence voice models pull base.en`.
        ");
    }
}
