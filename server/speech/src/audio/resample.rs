use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, WindowFunction};

use super::RATE;

/// Rates that sound comes with: from telephones to studio interfaces.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// More channels than a device or a spoken recording has.
const MAX_CHANNELS: usize = 32;

/// Sound of any rate and number of channels to mono with [`RATE`] samples a second, piece by piece.
///
/// Channels are averaged. What comes out is aligned with what went in and lasts as long; it follows with a delay of about 30 ms
/// until [`Resampler::finish`]. Nothing is allocated while pieces of the same size are pushed, so it may run beside a microphone.
pub struct Resampler {
    channels: usize,
    rate: u32,
    /// None where the rate is right already.
    converter: Option<Converter>,
    /// Frames that came in so far, and samples that went out.
    taken: u64,
    given: u64,
}

struct Converter {
    fft: Fft<f32>,
    /// Mono samples that wait for a whole chunk.
    waiting: Vec<f32>,
    output: Vec<f32>,
    /// Samples of the filter's delay that are still to be dropped.
    delay: usize,
}

impl Resampler {
    /// `None` for a rate or number of channels that no sound has.
    pub fn new(rate: u32, channels: usize) -> Option<Self> {
        if !RATES.contains(&rate) || !(1..=MAX_CHANNELS).contains(&channels) {
            return None;
        }
        let converter = if rate == RATE { None } else { Some(Converter::new(rate)?) };
        Some(Self { channels, rate, converter, taken: 0, given: 0 })
    }

    /// Takes interleaved samples and appends what is ready. An incomplete last frame is dropped.
    pub fn push(&mut self, interleaved: &[f32], out: &mut Vec<f32>) {
        let before = out.len();
        let channels = self.channels;
        let mono = interleaved.chunks_exact(channels).map(mix);
        self.taken += (interleaved.len() / channels) as u64;
        match &mut self.converter {
            None => out.extend(mono),
            Some(converter) => {
                converter.waiting.extend(mono);
                converter.convert(out);
            }
        }
        self.given += (out.len() - before) as u64;
    }

    /// Appends what is still on its way; the next push begins a new sound.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let before = out.len();
        let whole = (u128::from(self.taken) * u128::from(RATE)).div_ceil(u128::from(self.rate));
        let missing = usize::try_from(whole.saturating_sub(u128::from(self.given))).unwrap_or(0);
        if let Some(converter) = &mut self.converter {
            converter.flush(before + missing, out);
            out.truncate(before + missing);
        }
        (self.taken, self.given) = (0, 0);
    }
}

impl Converter {
    fn new(rate: u32) -> Option<Self> {
        let (rate, target) = (rate as usize, RATE as usize);
        // Blocks of about 20 ms: long enough for a steep filter, short enough not to be felt. An even number of the smallest
        // that there are, so that the filter's middle lies on a sample.
        let pair = 2 * rate / gcd(rate, target);
        let block = (rate / 50).next_multiple_of(pair);
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(rate, target, block, 1, 1, window, FixedSync::Both).ok()?;
        let output = vec![0.0; fft.output_frames_max()];
        let waiting = Vec::with_capacity(fft.input_frames_max() * 2);
        let delay = fft.output_delay();
        Some(Self { fft, waiting, output, delay })
    }

    /// Converts all whole chunks.
    fn convert(&mut self, out: &mut Vec<f32>) {
        let mut from = 0;
        while self.waiting.len() - from >= self.fft.input_frames_next() {
            let needed = self.fft.input_frames_next();
            self.chunk(from, needed, None, out);
            from += needed;
        }
        self.waiting.drain(..from);
    }

    /// Converts the rest, and silence behind it until `out` has so many samples.
    fn flush(&mut self, length: usize, out: &mut Vec<f32>) {
        let rest = self.waiting.len();
        self.waiting.resize(self.fft.input_frames_next().max(rest), 0.0);
        self.chunk(0, self.waiting.len(), Some(rest), out);
        let mut left = length.saturating_sub(out.len()).div_ceil(self.output.len().max(1)) + 1;
        while out.len() < length && left > 0 {
            self.chunk(0, self.waiting.len(), Some(0), out);
            left -= 1;
        }
        self.waiting.clear();
        self.fft.reset();
        self.delay = self.fft.output_delay();
    }

    fn chunk(&mut self, from: usize, length: usize, valid: Option<usize>, out: &mut Vec<f32>) {
        let indexing = Indexing { partial_len: valid, ..Indexing::default() };
        let capacity = self.output.len();
        let Some(input) = self.waiting.get(from..from + length) else { return };
        let Ok(input) = InterleavedSlice::new(input, 1, length) else { return };
        let Ok(mut output) = InterleavedSlice::new_mut(&mut self.output, 1, capacity) else { return };
        // Sizes are what it asked for; were they not, silence is lost rather than the recording.
        let written =
            self.fft.process_into_buffer(&input, &mut output, Some(&indexing)).map_or(0, |(_, written)| written);
        let skipped = self.delay.min(written);
        self.delay -= skipped;
        out.extend(self.output[skipped..written].iter().map(|sample| sample.clamp(-1.0, 1.0)));
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The average of a frame; what is not a number is silence.
fn mix(frame: &[f32]) -> f32 {
    let sum: f32 = frame.iter().filter(|sample| sample.is_finite()).map(|sample| sample.clamp(-1.0, 1.0)).sum();
    sum / frame.len() as f32
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::{RATE, Resampler};

    fn sine(rate: u32, frequency: f64, seconds: f32, channels: usize) -> Vec<f32> {
        let frames = (rate as f32 * seconds) as usize;
        let wave = |at: usize| 0.5 * (TAU * frequency * at as f64 / f64::from(rate)).sin() as f32;
        (0..frames).flat_map(|at| std::iter::repeat_n(wave(at), channels)).collect()
    }

    fn resampled(rate: u32, channels: usize, samples: &[f32], piece: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(rate, channels).expect("a rate that sound has");
        let mut out = Vec::new();
        for piece in samples.chunks(piece * channels) {
            resampler.push(piece, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_tone_keeps_its_pitch_level_and_place() {
        for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000] {
            for channels in [1, 2] {
                let out = resampled(rate, channels, &sine(rate, 440.0, 2.0, channels), 480);
                let expected = sine(RATE, 440.0, 2.0, 1);
                assert!(out.len().abs_diff(expected.len()) <= 1, "{rate}: {} samples", out.len());
                // The filter rings where the tone begins and ends.
                let inner = 800..out.len() - 800;
                let worst =
                    out[inner.clone()].iter().zip(&expected[inner]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 0.005, "{rate} Hz, {channels} channels: off by {worst}");
            }
        }
    }

    #[test]
    fn what_a_slower_rate_cannot_hold_is_filtered_out() {
        let out = resampled(48_000, 1, &sine(48_000, 12_000.0, 1.0, 1), 480);
        let loudest = out[800..out.len() - 800].iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
        assert!(loudest < 0.000_1, "an alias of {loudest}");
    }

    #[test]
    fn five_minutes_do_not_drift() {
        let mut resampler = Resampler::new(44_100, 1).expect("a rate that sound has");
        let (piece, mut out, mut length) = (vec![0.1; 44_100], Vec::new(), 0);
        for _ in 0..300 {
            resampler.push(&piece, &mut out);
            length += out.len();
            out.clear();
        }
        resampler.finish(&mut out);
        assert_eq!(length + out.len(), 300 * RATE as usize);
    }

    #[test]
    fn the_next_recording_starts_afresh() {
        let mut resampler = Resampler::new(48_000, 2).expect("a rate that sound has");
        let tone = sine(48_000, 300.0, 0.3, 2);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        resampler.push(&tone, &mut first);
        resampler.finish(&mut first);
        resampler.push(&tone, &mut second);
        resampler.finish(&mut second);
        assert_eq!(first, second);
    }

    #[test]
    fn rates_and_channels_that_no_sound_has_are_refused() {
        for (rate, channels) in [(0, 1), (7_999, 1), (192_001, 1), (u32::MAX, 1), (48_000, 0), (48_000, 33)] {
            assert!(Resampler::new(rate, channels).is_none(), "{rate} Hz, {channels} channels");
        }
    }

    proptest! {
        #[test]
        fn the_length_is_right_however_it_is_cut(
            rate in prop::sample::select(vec![8_000_u32, 16_000, 22_050, 44_100, 48_000]),
            channels in 1_usize..=3,
            frames in 0_usize..6_000,
            piece in 1_usize..3_000,
        ) {
            let out = resampled(rate, channels, &vec![0.25; frames * channels], piece);
            let expected = (frames as u64 * u64::from(RATE)).div_ceil(u64::from(rate));
            prop_assert_eq!(out.len() as u64, expected);
        }

        #[test]
        fn whatever_comes_in_a_sample_comes_out(samples in prop::collection::vec(any::<f32>(), 0..5_000)) {
            let out = resampled(44_100, 1, &samples, 700);
            prop_assert!(out.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0));
        }
    }
}
