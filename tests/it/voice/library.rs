//! ALSA's library: loaded when the microphone is used, silent, and not needed by anything else.

use std::process::Command;

use super::microphone::{Microphone, tone};
use crate::support::Cmd;

/// A shell in which libasound is as good as not installed.
fn without_library(machine: &Microphone, script: &str) -> Cmd {
    let list =
        Command::new("/sbin/ldconfig").arg("-p").env_clear().output().expect("ldconfig is part of the C library");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let libraries: Vec<&str> = list
        .lines()
        .filter(|line| line.trim().starts_with("libasound.so"))
        .filter_map(|line| line.split("=> ").nth(1))
        .collect();
    assert!(!libraries.is_empty(), "libasound is needed to be hidden: run `.ci/tools test`");
    let hide: String = libraries.iter().map(|path| format!("mount --bind /dev/null {path} && ")).collect();
    let namespace = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
    machine.run("unshare").args([namespace, "sh", "-c", &format!("{hide} {script}")])
}

#[test]
fn the_program_is_not_linked_to_it_and_loads_it_for_nothing_else() {
    let machine = Microphone::without_server();
    // The loader lists what the program is linked to, instead of running it.
    let linked = machine.cadence(["--version"]).env("LD_TRACE_LOADED_OBJECTS", "1").run().says("libc.so");
    assert!(!linked.stdout.contains("libasound"), "{linked:?}");
    let loaded = machine.cadence(["--version"]).env("LD_DEBUG", "files").run().code(0).complains("libc.so");
    assert!(!loaded.stderr.contains("libasound"), "{loaded:?}");
    machine.cadence(["voice", "devices"]).env("LD_DEBUG", "files").run().complains("libasound.so.2");
}

#[test]
fn without_it_the_program_starts_and_says_that_voice_is_unavailable() {
    let machine = Microphone::without_server();
    let program = env!("CARGO_BIN_EXE_cadence");
    without_library(&machine, &format!("{program} --version")).run().code(0).says("cadence ");
    for command in ["devices", "record heard.wav"] {
        let done = without_library(&machine, &format!("{program} voice {command}")).run().code(1);
        let first = done.stderr.lines().next().unwrap_or_default();
        assert_eq!(first, "error: voice is unavailable: no sound server runs and libasound.so.2 is not installed");
        assert!(done.stderr.contains("hint: Install it (Debian: apt-get install libasound2"), "{done:?}");
    }
}

#[test]
fn a_sound_server_is_enough_without_it() {
    let machine = Microphone::new();
    let program = env!("CARGO_BIN_EXE_cadence");
    without_library(&machine, &format!("{program} voice devices")).run().code(0).says("Headset");
}

#[test]
fn through_alsa_the_microphone_is_heard_and_nothing_is_printed() {
    let mut machine = Microphone::new();
    let file = machine.sound("tone.wav", tone(20.0, 0.5));
    machine.play(&file);
    machine.only_through_alsa();
    let done = machine.cadence(["voice", "record", "heard.wav", "--seconds", "2", "--json"]).run().code(0);
    let said = done.json();
    let peak = said["peak"].as_f64().unwrap();
    assert!((-7.0..-5.0).contains(&peak), "{said}");
    assert_eq!((&said["dropped"], &said["overruns"]), (&0.into(), &0.into()), "{said}");
    assert!(!done.stderr.contains("ALSA"), "{done:?}");
    machine.cadence(["voice", "devices"]).run().code(0).says("alsa:default");
}

#[test]
fn what_alsa_and_its_plugins_print_is_not_on_the_screen() {
    let machine = Microphone::without_server();
    let broken = [
        "type hw card 99",
        "type nonsense",
        "type pulse server \"unix:/nowhere\"",
        // This one prints by itself.
        "type jack capture_ports { 0 system:capture_1 } playback_ports { 0 system:playback_1 }",
        "this is } wrong",
    ];
    for default in broken {
        machine.alsa(default);
        for command in [["voice", "record", "heard.wav", "--seconds", "1"].as_slice(), &["voice", "devices"]] {
            let done = machine.cadence([]).args(command).run().code(1);
            let ours = |line: &str| ["error: ", "  cause: ", "  hint: "].iter().any(|start| line.starts_with(start));
            assert!(done.stderr.starts_with("error: ") && done.stderr.lines().all(ours), "{default}: {done:?}");
        }
    }
}
