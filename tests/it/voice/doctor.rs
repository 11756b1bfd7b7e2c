//! `cadence doctor` on machines that can be spoken to, and on those that cannot.

use cadence_fakes::speech::SpeechApi;
use serde_json::Value;

use super::microphone::Microphone;
use crate::support::{Cmd, TestEnv};

/// The checks with this name, as (state, what was found, hint).
fn checks(report: &Value, name: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = report["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name);
    all.map(|check| (text(&check["state"]), text(&check["found"]), text(&check["hint"]))).collect()
}

#[track_caller]
fn one(report: &Value, name: &str, state: &str, found: &str, hint: &str) {
    let all = checks(report, name);
    let fits = |check: &(String, String, String)| check.0 == state && check.1.contains(found) && check.2.contains(hint);
    assert!(all.iter().any(fits), "{name} is not {state} with {found:?} and {hint:?}: {all:#?}");
}

fn report(cmd: Cmd) -> Value {
    let done = cmd.run().code(0);
    assert!(!done.stdout.contains("speech-key"), "a key is shown: {done:?}");
    assert_eq!(done.stderr, "", "it prints nothing beside its report");
    done.json()
}

#[test]
fn what_can_be_spoken_to_is_named() {
    let (api, machine, env) = (SpeechApi::start(), Microphone::new(), TestEnv::new());
    let doctor = || {
        let cmd = env.cadence(["doctor", "--json"]).env("PULSE_SERVER", machine.server());
        let cmd = cmd.env("PULSE_COOKIE", machine.cookie());
        let cmd = cmd.env("OPENAI_API_KEY", "sk-speech-key").env("OPENAI_BASE_URL", format!("{}/v1", api.url()));
        cmd.env("DEEPGRAM_API_KEY", "dg-speech-key").env("DEEPGRAM_URL", api.url())
    };
    env.cadence(["config", "set", "voice.speak", "espeak-ng --stdin"]).run().code(0);
    let healthy = report(doctor());
    one(&healthy, "microphone", "ok", "Headset", "");
    one(&healthy, "speech", "ok", "openai answers", "");
    one(&healthy, "speech", "ok", "deepgram answers", "");
    one(&healthy, "answers", "ok", "espeak-ng", "");
    one(&healthy, "models", "ok", "none is here", "");
    one(&healthy, "build", "ok", "with microphone, no local speech engine", "");

    env.cadence(["config", "set", "voice.device", "Desk"]).run().code(0);
    env.cadence(["config", "set", "voice.speak", "nobody-speaks"]).run().code(0);
    api.refuse_keys();
    let ill = report(doctor());
    assert_eq!(ill["ok"], true, "work in writing goes on: {ill:#}");
    one(&ill, "microphone", "warning", "no microphone `Desk`", "There are: Headset.");
    one(&ill, "speech", "warning", "openai refused the credentials", "API key");
    one(&ill, "speech", "warning", "deepgram refused the credentials", "API key");
    one(&ill, "answers", "warning", "nobody-speaks", "apt-get install espeak-ng");
}

#[test]
fn what_is_missing_has_a_next_step_and_fails_nothing() {
    let env = TestEnv::new();
    let bare = report(env.cadence(["doctor", "--json"]));
    assert_eq!(bare["ok"], true);
    let [(state, _, hint)] = checks(&bare, "microphone").try_into().unwrap();
    assert!(state == "warning" && !hint.is_empty(), "{bare:#}");
    one(&bare, "speech", "warning", "no engine is set up", "OPENAI_API_KEY");
    // Named and not set up, set up and not there, and a build that cannot.
    let gone = SpeechApi::start();
    let url = gone.url();
    drop(gone);
    env.cadence(["config", "set", "voice.engines", "openai,deepgram,local"]).run().code(0);
    let named = report(env.cadence(["doctor", "--json"]).env("OPENAI_BASE_URL", &url));
    assert_eq!(checks(&named, "speech").len(), 3, "{named:#}");
    one(&named, "speech", "warning", "openai is not available", "Check the engine's URL");
    one(&named, "speech", "warning", "no DEEPGRAM_API_KEY", "voice.engines");
    one(&named, "speech", "warning", "no local speech engine", "make desktop");
    let shown = env.cadence(["doctor"]).run().code(0);
    shown.says("! speech").says("Set DEEPGRAM_API_KEY");
}
