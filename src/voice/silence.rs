//! Nothing but zeros from a microphone that gave sound before: it was unplugged or muted.

use std::time::Duration;

/// Longer than somebody who thinks is silent behind a filter that takes all noise away.
const LONGEST: Duration = Duration::from_secs(4);

/// Counts the zeros at the end of what was recorded.
///
/// Any open microphone gives some noise. One that gave none from the beginning is muted, or gives only what a filter takes for speech:
/// that is no sign, and is told when the recording is over.
pub struct Silence {
    /// Samples that are too many.
    most: usize,
    /// Samples at the end that are zero; none while nothing else came.
    zeros: Option<usize>,
}

impl Silence {
    /// `rate`: samples a second.
    pub fn new(rate: u32) -> Self {
        Self { most: LONGEST.as_secs() as usize * rate as usize, zeros: None }
    }

    /// Takes the next samples, and says why the device is lost where they tell that it is.
    pub fn push(&mut self, samples: &[f32]) -> Option<String> {
        let sounds = samples.iter().rposition(|sample| *sample != 0.0);
        let new = sounds.map_or(samples.len(), |last| samples.len() - last - 1);
        self.zeros = match (sounds, self.zeros) {
            (Some(_), _) => Some(new),
            (None, zeros) => zeros.map(|zeros| zeros.saturating_add(new)),
        };
        let lost = self.zeros.is_some_and(|zeros| zeros >= self.most);
        lost.then(|| {
            format!("it gave only zeros for {} s, not even noise: it was unplugged or muted", LONGEST.as_secs())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const RATE: u32 = 100;

    #[test]
    fn zeros_after_sound_tell_that_the_microphone_is_gone() {
        let mut silence = Silence::new(RATE);
        assert_eq!(silence.push(&[0.1; 50]), None);
        assert_eq!(silence.push(&[0.0; 399]), None);
        let reason = silence.push(&[0.0]).unwrap();
        assert!(reason.contains("zeros for 4 s"), "{reason}");
    }

    #[test]
    fn noise_is_none_however_quiet_and_zeros_before_any_sound_tell_nothing() {
        let mut silence = Silence::new(RATE);
        assert_eq!(silence.push(&[0.0; 10_000]), None);
        for _ in 0..10_000 {
            assert_eq!(silence.push(&[0.0, 0.0, 1.0 / 32768.0, 0.0]), None);
        }
        assert_eq!(silence.push(&[-1.0 / 32768.0]), None);
    }

    proptest! {
        #[test]
        fn it_matters_only_what_comes_and_not_in_which_pieces(
            samples in proptest::collection::vec(prop_oneof![9 => Just(0.0_f32), 1 => Just(0.2)], 0..3000),
            pieces in 1_usize..700,
        ) {
            let last = samples.iter().rposition(|sample| *sample != 0.0);
            let trailing = last.map_or(0, |last| samples.len() - last - 1);
            let mut silence = Silence::new(RATE);
            let mut told = None;
            for piece in samples.chunks(pieces) {
                told = silence.push(piece);
            }
            prop_assert_eq!(told.is_some(), trailing >= 4 * RATE as usize);
        }
    }
}
