//! Recording, with a microphone that hears what the story plays.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use super::microphone::{HERTZ, Microphone, RATE, tone};

/// The samples of a recording, which has to be what engines get.
fn recorded(path: &Path) -> Vec<f32> {
    let mut reader = hound::WavReader::open(path).unwrap();
    let spec = reader.spec();
    assert_eq!((spec.sample_rate, spec.channels, spec.bits_per_sample), (16_000, 1, 16));
    reader.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect()
}

/// How much of the energy is in the tone, 0 to 1.
fn share_of_tone(samples: &[f32]) -> f32 {
    let (mut cosine, mut sine, mut energy) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (n, sample) in samples.iter().enumerate() {
        let at = TAU * HERTZ * n as f64 / 16_000.0;
        cosine += f64::from(*sample) * at.cos();
        sine += f64::from(*sample) * at.sin();
        energy += f64::from(*sample) * f64::from(*sample);
    }
    ((cosine * cosine + sine * sine) * 2.0 / (energy * samples.len() as f64).max(1e-9)) as f32
}

/// Where the tone is: from its first to its last loud sample.
fn sounding(samples: &[f32]) -> &[f32] {
    let loud = |sample: &f32| sample.abs() > 0.1;
    let first = samples.iter().position(loud).unwrap_or(0);
    let last = samples.iter().rposition(loud).map_or(0, |last| last + 1);
    &samples[first..last.max(first)]
}

#[test]
fn a_tone_that_is_played_is_in_the_file() {
    let mut machine = Microphone::new();
    let file = machine.sound("tone.wav", tone(20.0, 0.5));
    machine.play(&file);
    let done = machine.cadence(["voice", "record", "heard.wav", "--seconds", "2", "--json"]).run().code(0);
    let said = done.json();
    assert_eq!((&said["device"], &said["end"]), (&"Headset".into(), &"limit".into()));
    assert_eq!((&said["dropped"], &said["overruns"], &said["seconds"]), (&0.into(), &0.into(), &2.0.into()));
    let samples = recorded(&machine.path("home/heard.wav"));
    assert_eq!(samples.len(), 32_000);
    let tone = sounding(&samples);
    assert!(tone.len() > 16_000, "only {} samples sound", tone.len());
    assert!(share_of_tone(tone) > 0.98, "{}", share_of_tone(tone));
    let peak = said["peak"].as_f64().unwrap();
    assert!((-7.0..-5.0).contains(&peak), "half of the scale is not {peak} dBFS");
}

#[test]
fn a_sentence_ends_the_recording_when_it_is_over() {
    let mut machine = Microphone::new();
    let file = machine.speech("please fix the flaky test in the parser and open a pull request");
    let recording =
        machine.cadence(["voice", "record", "heard.wav", "--seconds", "60", "--until-pause", "--json"]).start();
    machine.wait_recorded();
    machine.play(&file);
    let done = recording.finish().code(0);
    assert_eq!(done.stderr, "");
    let said = done.json();
    assert_eq!((&said["end"], &said["trouble"]), (&"pause".into(), &serde_json::Value::Null));
    let length = said["seconds"].as_f64().unwrap();
    assert!((3.0..15.0).contains(&length), "{said}");
    assert!(said["speechAfter"].as_f64().unwrap() < length - 1.2, "{said}");
}

#[test]
fn nothing_is_lost_in_half_a_minute_on_a_busy_machine() {
    let mut machine = Microphone::new();
    let file = machine.sound("tone.wav", tone(45.0, 0.5));
    let stop = AtomicBool::new(false);
    let (done, samples) = std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        machine.play(&file);
        let done = machine.cadence(["voice", "record", "heard.wav", "--seconds", "30", "--json"]).run();
        stop.store(true, Ordering::Relaxed);
        (done.code(0), recorded(&machine.path("home/heard.wav")))
    });
    let said = done.json();
    assert_eq!((&said["dropped"], &said["overruns"]), (&0.into(), &0.into()), "{said}");
    assert_eq!(samples.len(), 30 * 16_000);
    let tone = sounding(&samples);
    assert!(tone.len() > 28 * 16_000, "only {} samples sound", tone.len());
    // Each sample of a tone follows from the two before it; a gap of any length breaks that.
    let next = (2.0 * (TAU * HERTZ / 16_000.0).cos()) as f32;
    let inner = &tone[400..tone.len() - 400];
    let breaks: Vec<usize> =
        (2..inner.len()).filter(|n| (inner[*n] - next * inner[n - 1] + inner[n - 2]).abs() > 0.002).collect();
    assert!(breaks.is_empty(), "the tone breaks at {breaks:?}");
}

#[test]
fn what_was_heard_is_kept_when_the_microphone_is_unplugged() {
    let machine = Microphone::new();
    let file = machine.sound("tone.wav", tone(1.0, 0.5));
    let recording = machine.cadence(["voice", "record", "heard.wav", "--seconds", "60"]).start();
    machine.wait_recorded();
    machine.play_whole(&file);
    machine.unplug();
    let done = recording
        .finish()
        .code(1)
        .complains("error: the microphone went away while it recorded")
        .complains("cause: it is no longer connected");
    assert!(done.stderr.contains("hint: Connect it again"), "{done:?}");
    let samples = recorded(&machine.path("home/heard.wav"));
    assert!(sounding(&samples).len() > 14_000, "of 16,000 samples {} are there", sounding(&samples).len());
}

#[test]
fn what_was_heard_is_kept_when_the_microphone_behind_alsa_is_unplugged() {
    let machine = Microphone::new();
    machine.only_through_alsa();
    let file = machine.sound("tone.wav", tone(1.0, 0.5));
    let recording = machine.cadence(["voice", "record", "heard.wav", "--seconds", "60"]).start();
    machine.wait_recorded();
    machine.play_whole(&file);
    machine.unplug();
    // ALSA does not say that the server has moved the recording to what the loudspeaker plays.
    let done = recording
        .finish()
        .code(1)
        .complains("error: the microphone went away while it recorded")
        .complains("cause: it gave only zeros for 4 s, not even noise: it was unplugged or muted");
    assert!(done.stderr.contains("hint: Connect it again"), "{done:?}");
    let samples = recorded(&machine.path("home/heard.wav"));
    assert!(sounding(&samples).len() > 14_000, "of 16,000 samples {} are there", sounding(&samples).len());
    assert!(samples.len() < 30 * 16_000, "it went on for {} samples", samples.len());
}

#[test]
fn a_muted_microphone_and_one_that_is_too_loud_are_told_apart() {
    let mut machine = Microphone::new();
    machine
        .cadence(["voice", "record", "heard.wav", "--seconds", "1"])
        .run()
        .code(1)
        .complains("error: nothing was heard, not even noise")
        .complains("muted");
    assert_eq!(recorded(&machine.path("home/heard.wav")).len(), 16_000);
    let square = (0..20 * RATE).map(|n| if n / 100 % 2 == 0 { 1.0 } else { -1.0 });
    let file = machine.sound("square.wav", square);
    machine.play(&file);
    let done = machine.cadence(["voice", "record", "heard.wav", "--seconds", "2"]).run().code(0);
    done.complains("it was too loud").complains("Turn the microphone's level down").says("2.0 s in heard.wav");
}

#[test]
fn ctrl_c_ends_the_recording_and_keeps_it() {
    let machine = Microphone::new();
    let file = machine.sound("tone.wav", tone(1.0, 0.5));
    let recording = machine.cadence(["voice", "record", "heard.wav", "--seconds", "60", "--json"]).start();
    machine.wait_recorded();
    machine.play_whole(&file);
    recording.signal(Signal::SIGINT);
    let said = recording.finish().code(0).json();
    assert_eq!(said["end"], "stopped");
    assert!(sounding(&recorded(&machine.path("home/heard.wav"))).len() > 14_000);
}

#[test]
fn microphones_are_listed_and_outputs_are_not() {
    let machine = Microphone::new();
    let listed = machine.cadence(["voice", "devices", "--json"]).run().code(0);
    assert_eq!(listed.stderr, "");
    let format = serde_json::json!({ "channels": 1, "rate": RATE, "sample": "i16" });
    let device = serde_json::json!({ "name": "Headset", "id": "pulseaudio:mic", "isDefault": true, "format": format });
    assert_eq!(listed.json(), serde_json::json!({ "devices": [device] }));
    machine.cadence(["voice", "devices"]).run().code(0).says("●  Headset  48000 Hz mono  pulseaudio:mic");
    for name in ["headset", "mic", "pulseaudio:mic", "Head"] {
        let done = machine.cadence(["voice", "record", "heard.wav", "--seconds", "1", "--device", name]).run();
        done.code(1).complains("nothing was heard");
    }
    let done = machine.cadence(["voice", "record", "none.wav", "--device", "Webcam"]).run().code(2);
    assert_eq!(done.stderr, "error: there is no microphone `Webcam`\n  hint: There are: Headset.\n");
    assert!(!fs::exists(machine.path("home/none.wav")).unwrap());
}
