use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{decode, decode_within};
use crate::audio::{AudioError, Clip, Format, RATE};

/// The sentence in every format: its name, and what its bytes are.
const FILES: [(&str, Format); 9] = [
    ("speech.wav", Format::Wav),
    ("speech.mp3", Format::Mp3),
    ("speech.m4a", Format::M4a),
    ("speech-fragmented.m4a", Format::M4a),
    ("speech.flac", Format::Flac),
    ("speech-vorbis.ogg", Format::Ogg),
    ("speech-opus.ogg", Format::Ogg),
    ("speech-opus.webm", Format::Webm),
    ("speech-vorbis.webm", Format::Webm),
];

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/audio").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sentence as it was before any codec.
fn original() -> Clip {
    decode(&fixture("speech.wav")).expect("the original")
}

/// How alike two sounds are at the best shift of up to 60 ms, 0 to 1: codecs add silence in front.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let correlation = |shift: usize, a: &[f32], b: &[f32]| {
        let (mut product, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
        for (a, b) in a.iter().skip(shift).zip(b) {
            product += a * b;
            of_a += a * a;
            of_b += b * b;
        }
        product / (of_a * of_b).sqrt()
    };
    let shifts = 0..RATE as usize * 60 / 1_000;
    shifts.flat_map(|shift| [correlation(shift, a, b), correlation(shift, b, a)]).fold(0.0, f32::max)
}

#[test]
fn the_same_sentence_is_heard_in_every_format() {
    let original = original();
    assert_eq!(original.samples.len(), 41_840);
    for (name, format) in FILES {
        let bytes = fixture(name);
        assert_eq!(Format::sniff(&bytes), Some(format), "{name}");
        let clip = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let longer = clip.duration().as_secs_f64() - original.duration().as_secs_f64();
        assert!((-0.01..0.08).contains(&longer), "{name} is {longer} s longer");
        let likeness = likeness(&clip.samples, &original.samples);
        assert!(likeness > 0.9, "{name} is like the original to {likeness}");
    }
}

#[test]
fn a_file_that_breaks_off_gives_what_was_there_or_says_so() {
    let whole = original().samples.len();
    for (name, _) in FILES {
        let bytes = fixture(name);
        for tenth in 0..10 {
            let cut = &bytes[..bytes.len() * tenth / 10];
            match decode(cut) {
                Ok(clip) => assert!(
                    !clip.samples.is_empty() && clip.samples.len() <= whole + RATE as usize / 10,
                    "{name} cut at {tenth}/10 has {} samples",
                    clip.samples.len()
                ),
                Err(error) => assert!(
                    matches!(error, AudioError::Empty(_) | AudioError::Damaged { .. } | AudioError::Unrecognised),
                    "{name} cut at {tenth}/10: {error}"
                ),
            }
        }
    }
}

#[test]
fn half_of_a_recording_that_is_written_as_it_goes_is_half_of_the_sentence() {
    for name in
        ["speech.wav", "speech.mp3", "speech.flac", "speech-opus.ogg", "speech-opus.webm", "speech-fragmented.m4a"]
    {
        let bytes = fixture(name);
        let half = decode(&bytes[..bytes.len() / 2]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let share = half.duration().as_secs_f64() / original().duration().as_secs_f64();
        assert!((0.25..0.75).contains(&share), "{name}: {share}");
    }
}

#[test]
fn a_wav_file_whose_writer_never_knew_its_length_is_heard() {
    let mut bytes = fixture("speech.wav");
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(&bytes[36..40], b"data");
    let clip = decode(&bytes).expect("a stream of WAV");
    assert!(clip.samples.len().abs_diff(original().samples.len()) < 400, "{} samples", clip.samples.len());
}

#[test]
fn a_recording_longer_than_the_limit_is_refused_and_not_cut() {
    let limit = Duration::from_secs(1);
    for (name, _) in FILES {
        assert_eq!(decode_within(&fixture(name), limit), Err(AudioError::TooLong { limit }), "{name}");
    }
    assert!(decode_within(&fixture("speech.mp3"), Duration::from_secs(3)).is_ok());
}

#[test]
fn what_is_not_audio_is_refused_with_what_would_be() {
    for bytes in [&b""[..], b"RIFF", b"<html><body>502 Bad Gateway</body></html>", b"\x89PNG\r\n\x1a\n", &[0; 5_000]] {
        let error = decode(bytes).expect_err("no audio");
        assert_eq!(error, AudioError::Unrecognised);
        assert!(error.to_string().contains("WebM"), "{error}");
    }
    // A header alone is no recording.
    assert_eq!(decode(&fixture("speech.wav")[..44]), Err(AudioError::Empty(Format::Wav)));
}

/// The beginning of a real file, so that what follows reaches the format's own reader.
fn beginning() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(FILES.to_vec()), 4_usize..2_000).prop_map(|((name, _), length)| {
        let mut bytes = fixture(name);
        bytes.truncate(length.max(12));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
        let _answer: Result<Clip, AudioError> = decode(&bytes);
    }

    #[test]
    fn a_real_beginning_with_a_random_end_is_answered(
        mut bytes in beginning(),
        end in prop::collection::vec(any::<u8>(), 0..4_000),
    ) {
        bytes.extend(end);
        if let Ok(clip) = decode(&bytes) {
            prop_assert!(clip.samples.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0));
        }
    }

    #[test]
    fn a_real_file_with_wrong_bytes_is_answered(
        (name, _) in prop::sample::select(FILES.to_vec()),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut bytes = fixture(name);
        for (at, byte) in wrong {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(clip) = decode(&bytes) {
            prop_assert!(clip.samples.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0));
        }
    }
}
