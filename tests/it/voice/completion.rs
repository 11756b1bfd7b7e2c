//! The tab key where a microphone is to be named.

use super::microphone::Microphone;
use crate::support::TestEnv;

#[test]
fn a_name_leads_to_the_microphone_and_nothing_is_printed() {
    let (machine, env) = (Microphone::new(), TestEnv::new());
    let mut bash = env.shell("bash", ["--noprofile", "--norc", "-i"]);
    bash.send(&format!("PS1='> '; export PULSE_SERVER={} PULSE_COOKIE={}\r", machine.server(), machine.cookie()));
    bash.send("source <(cadence completions bash) && clear && echo it is re''ady\r");
    bash.wait_for("it is ready");
    bash.send("cadence voice --device heads\t");
    bash.wait_for("cadence voice --device mic ");
    // Nowhere to ask is no candidate, and no noise.
    bash.send("\u{15}export PULSE_SERVER=unix:/nowhere; clear; echo it is go''ne\r");
    bash.wait_for("it is gone");
    bash.send("cadence voice record --device heads\t--seconds 1");
    let screen = bash.wait_for("cadence voice record --device heads--seconds 1");
    assert!(!screen.contains("ALSA") && !screen.contains("error"), "{screen}");
    bash.send("\u{15}exit 0\r");
    assert_eq!(bash.finish(), 0);
}
