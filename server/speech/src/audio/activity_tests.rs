use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{Activity, ActivityEvent, ActivitySettings, summary, trim};
use crate::audio::{Clip, RATE, decode};

const SECOND: usize = RATE as usize;

fn sentence() -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/audio/speech.wav");
    decode(&std::fs::read(path).expect("the fixture")).expect("a sentence").samples
}

/// Quiet noise, the same each time: what a room sounds like.
fn room(samples: usize, amplitude: f32) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 - 0.5) * 2.0 * amplitude
    };
    (0..samples).map(|_| next()).collect()
}

fn hum(samples: usize, amplitude: f32) -> Vec<f32> {
    let wave = |at: usize, frequency: f32| (at as f32 * frequency * std::f32::consts::TAU / RATE as f32).sin();
    (0..samples).map(|at| amplitude * (wave(at, 50.0) + 0.5 * wave(at, 100.0) + 0.2 * wave(at, 150.0)) / 1.7).collect()
}

/// Two seconds of a quiet room, the sentence, two more.
fn recording() -> Clip {
    let mut samples = room(2 * SECOND, 0.001);
    samples.extend(sentence());
    samples.extend(room(2 * SECOND, 0.001));
    Clip { samples }
}

#[test]
fn speech_is_heard_to_begin_and_to_end_after_the_pause() {
    let recording = recording();
    let mut activity = Activity::new(ActivitySettings::default());
    let mut told = Vec::new();
    // Pieces of an odd size, as a device gives them.
    for (piece, samples) in recording.samples.chunks(441).enumerate() {
        told.extend(activity.push(samples).into_iter().map(|event| (piece * 441, event)));
    }
    let [(_, ActivityEvent::Began { at: began }), (heard, ActivityEvent::Ended { at: ended })] = told[..] else {
        panic!("one sentence was said: {told:?}");
    };
    let (first, last) = (2 * SECOND as u64, (2 * SECOND + sentence().len()) as u64);
    assert!(began.abs_diff(first) < 6_400, "began at {began}, said at {first}");
    assert!(ended.abs_diff(last) < 8_000, "ended at {ended}, said until {last}");
    let pause = heard as u64 - ended;
    assert!((18_000..21_500).contains(&pause), "told {pause} samples after the end");
    assert!(!activity.is_speaking());
    assert!(activity.speech() > Duration::from_millis(1_200), "{:?}", activity.speech());
}

#[test]
fn a_pause_within_a_sentence_is_not_its_end() {
    let mut samples = sentence();
    samples.extend(room(SECOND * 7 / 10, 0.001));
    samples.extend(sentence());
    let mut activity = Activity::new(ActivitySettings::default());
    let events = activity.push(&samples);
    assert!(matches!(events[..], [ActivityEvent::Began { .. }]), "{events:?}");
    assert!(activity.is_speaking());
    let mut impatient =
        Activity::new(ActivitySettings { pause: Duration::from_millis(400), ..ActivitySettings::default() });
    assert!(impatient.push(&samples).iter().any(|event| matches!(event, ActivityEvent::Ended { .. })));
}

#[test]
fn silence_hum_noise_and_clicks_are_not_speech() {
    let mut clicks = room(3 * SECOND, 0.001);
    for at in (0..3 * SECOND - 40).step_by(SECOND / 3) {
        clicks[at..at + 40].fill(0.7);
    }
    let table = [
        ("digital silence", vec![0.0; 3 * SECOND]),
        ("a quiet room", room(3 * SECOND, 0.002)),
        ("hum", hum(3 * SECOND, 0.05)),
        ("loud hum", hum(3 * SECOND, 0.5)),
        ("a fan", room(3 * SECOND, 0.03)),
        ("clicks", clicks),
        ("speech in another building", sentence().iter().map(|sample| sample * 0.001).collect()),
    ];
    for (what, samples) in table {
        let clip = Clip { samples };
        assert_eq!(summary(&clip).speech, Duration::ZERO, "{what}");
        assert!(trim(&clip).samples.is_empty(), "{what}");
    }
}

#[test]
fn a_summary_tells_speech_and_level() {
    let clip = recording();
    let summary = summary(&clip);
    assert_eq!(summary.duration, clip.duration());
    assert!((1.2..2.8).contains(&summary.speech.as_secs_f64()), "{summary:?}");
    assert!(summary.level.peak > -12.0 && summary.level.peak <= 0.0, "{summary:?}");
    let loud = Clip { samples: clip.samples.iter().map(|sample| (sample * 20.0).clamp(-1.0, 1.0)).collect() };
    assert!(super::summary(&loud).level.clipped > 0.02);
}

#[test]
fn silence_around_a_sentence_is_trimmed_and_the_sentence_is_not() {
    let trimmed = trim(&recording());
    let sentence = sentence();
    let longer = trimmed.samples.len() as f64 / sentence.len() as f64;
    assert!((0.85..1.25).contains(&longer), "{longer} of the sentence");
    // A sentence that fills its recording stays whole but for quiet ends.
    let tight = trim(&Clip { samples: sentence.clone() });
    assert!(tight.samples.len() * 10 > sentence.len() * 8, "{} of {}", tight.samples.len(), sentence.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn how_a_stream_is_cut_changes_nothing(piece in 1_usize..5_000) {
        let clip = recording();
        let mut activity = Activity::new(ActivitySettings::default());
        let cut: Vec<_> = clip.samples.chunks(piece).flat_map(|samples| activity.push(samples)).collect();
        prop_assert_eq!(cut, Activity::new(ActivitySettings::default()).push(&clip.samples));
    }

    #[test]
    fn any_samples_are_listened_to(samples in prop::collection::vec(any::<f32>(), 0..2_000)) {
        let clip = Clip { samples };
        prop_assert!(summary(&clip).speech <= clip.duration() + Duration::from_millis(16));
        prop_assert!(trim(&clip).samples.len() <= clip.samples.len());
    }
}
