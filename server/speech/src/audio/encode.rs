use std::io::Cursor;

use flacenc::bitsink::ByteSink;
use flacenc::component::BitRepr;
use flacenc::error::Verify;

use super::{AudioError, Clip, RATE};

const BITS: u16 = 16;

/// Samples in a block of FLAC: 64 ms, in which a voice changes little.
const BLOCK: usize = 1024;

/// The clip as a WAV file with 16 bits a sample.
pub fn wav(clip: &Clip) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: BITS,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::with_capacity(44 + clip.samples.len() * 2));
    let written = hound::WavWriter::new(&mut file, spec).and_then(|mut writer| {
        clip.samples.iter().try_for_each(|sample| writer.write_sample(pcm16(*sample)))?;
        writer.finalize()
    });
    // Memory takes every byte, and a clip is far from the 4 GiB that WAV can hold.
    if let Err(error) = written {
        tracing::error!(%error, "a clip cannot be written as WAV");
    }
    file.into_inner()
}

/// The clip as a FLAC file with 16 bits a sample: two thirds of the WAV, and the same samples.
///
/// # Errors
/// [`AudioError::Encode`], for an empty clip or a fault of the encoder; [`wav`] always works.
pub fn flac(clip: &Clip) -> Result<Vec<u8>, AudioError> {
    let failed = |error: &dyn std::fmt::Display| AudioError::Encode(error.to_string());
    if clip.samples.is_empty() {
        return Err(failed(&"it has no samples"));
    }
    let mut config = flacenc::config::Encoder::default();
    config.block_size = BLOCK;
    config.multithread = false;
    // Fixed predictors: linear prediction takes three times as long, and saves one byte in sixteen of speech.
    config.subframe_coding.use_lpc = false;
    let config = config.into_verified().map_err(|(_, error)| failed(&error))?;
    let samples: Vec<i32> = clip.samples.iter().map(|sample| i32::from(pcm16(*sample))).collect();
    let source = flacenc::source::MemSource::from_samples(&samples, 1, usize::from(BITS), RATE as usize);
    let mut stream = flacenc::encode_with_fixed_block_size(&config, source, BLOCK).map_err(|error| failed(&error))?;
    // The encoder counts the last, short block as the smallest. By RFC 9639, section 8.2, it does not count, and decoders take
    // the blocks for ones of varying size where the smallest and largest differ.
    stream.stream_info_mut().set_block_sizes(BLOCK, BLOCK).map_err(|error| failed(&error))?;
    let mut sink = ByteSink::new();
    stream.write(&mut sink).map_err(|error| failed(&error))?;
    Ok(sink.into_inner())
}

/// A sample in 16 bits; one that is no number is silence.
pub(crate) fn pcm16(sample: f32) -> i16 {
    (sample * f32::from(i16::MAX)).round() as i16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{flac, pcm16, wav};
    use crate::audio::{AudioError, Clip, Format, decode};

    fn clip(samples: impl IntoIterator<Item = f32>) -> Clip {
        Clip { samples: samples.into_iter().collect() }
    }

    fn same_in_16_bits(a: &Clip, b: &Clip) -> bool {
        let close = |(a, b): (&f32, &f32)| (pcm16(*a) - pcm16(*b)).abs() <= 1;
        a.samples.len() == b.samples.len() && a.samples.iter().zip(&b.samples).all(close)
    }

    #[test]
    fn samples_beyond_the_scale_are_clipped_and_no_numbers_are_silence() {
        let table = [(0.0, 0), (1.0, 32_767), (-1.0, -32_767), (2.0, 32_767), (-9.0, -32_768), (f32::NAN, 0)];
        for (sample, expected) in table {
            assert_eq!(pcm16(sample), expected, "{sample}");
        }
    }

    #[test]
    fn an_empty_clip_is_a_wav_file_but_no_flac_file() {
        assert_eq!(wav(&Clip::default()).len(), 44);
        assert!(matches!(flac(&Clip::default()), Err(AudioError::Encode(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_written_is_read_again(samples in prop::collection::vec(-1.0_f32..=1.0, 1..20_000)) {
            let written = clip(samples);
            for (bytes, format) in [(wav(&written), Format::Wav), (flac(&written).expect("FLAC"), Format::Flac)] {
                prop_assert_eq!(Format::sniff(&bytes), Some(format));
                let read = decode(&bytes).expect("a file of our own");
                prop_assert!(same_in_16_bits(&written, &read), "{}", format);
            }
        }
    }
}
