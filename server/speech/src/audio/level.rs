/// Where the scale of [`Level`] ends: less than a 16-bit sample can hold.
pub const SILENCE_DBFS: f32 = -120.0;

/// A sample from here on has met the end of the scale.
const FULL_SCALE: f32 = 0.999;

/// How loud something is, in dBFS: 0 is the loudest that can be recorded, [`SILENCE_DBFS`] is silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Of the loudest sample.
    pub peak: f32,
    /// Root mean square. A full-scale sine has -3, speech at a fair distance -35 to -15.
    pub rms: f32,
    /// Share of the samples that met the end of the scale, 0 to 1: more than a few in a thousand are heard as distortion.
    pub clipped: f32,
}

impl Level {
    pub fn of(samples: &[f32]) -> Self {
        if samples.is_empty() {
            return Self { peak: SILENCE_DBFS, rms: SILENCE_DBFS, clipped: 0.0 };
        }
        let (mut peak, mut energy, mut full) = (0.0_f32, 0.0_f64, 0_usize);
        for &sample in samples {
            let size = if sample.is_finite() { sample.abs() } else { 0.0 };
            peak = peak.max(size);
            energy += f64::from(size) * f64::from(size);
            full += usize::from(size >= FULL_SCALE);
        }
        let count = samples.len() as f64;
        let rms = (energy / count).sqrt() as f32;
        Self { peak: dbfs(peak), rms: dbfs(rms), clipped: (full as f64 / count) as f32 }
    }
}

fn dbfs(amplitude: f32) -> f32 {
    (20.0 * amplitude.log10()).max(SILENCE_DBFS)
}

#[cfg(test)]
mod tests {
    use super::{Level, SILENCE_DBFS};

    #[test]
    fn levels_are_those_of_the_textbook() {
        let sine: Vec<f32> = (0..16_000).map(|at| (at as f32 * std::f32::consts::TAU / 160.0).sin() * 0.5).collect();
        let level = Level::of(&sine);
        assert!((level.peak + 6.02).abs() < 0.05, "{level:?}");
        assert!((level.rms + 9.03).abs() < 0.05, "{level:?}");
        assert_eq!(level.clipped, 0.0);
    }

    #[test]
    fn silence_and_no_numbers_have_a_level() {
        for samples in [&[][..], &[0.0; 100], &[f32::NAN; 10], &[f32::INFINITY; 10]] {
            let level = Level::of(samples);
            assert_eq!((level.peak, level.rms, level.clipped), (SILENCE_DBFS, SILENCE_DBFS, 0.0), "{samples:?}");
        }
    }

    #[test]
    fn what_meets_the_end_of_the_scale_is_clipped() {
        assert_eq!(Level::of(&[1.0, -1.0, 0.5, 0.0]).clipped, 0.5);
    }
}
