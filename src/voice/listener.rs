//! What is made of the sound as it comes: levels, the beginning and the end of speech, and at last a take. No device here.

use std::time::Duration;

use cadence_speech::audio::{Activity, ActivityEvent, ActivitySettings, Clip, Level, RATE, Resampler};

use super::take::{End, Take};

/// Samples behind one level: 50 ms.
const LEVEL_EVERY: usize = RATE as usize / 20;

/// What a recording tells while it runs. The last is always [`Heard::Ended`].
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// How loud the last 50 ms were.
    Level(Level),
    /// Somebody began to speak, so long after the beginning; again after a pause that did not end it.
    SpeechBegan(Duration),
    /// The next samples, 16 kHz mono, for whoever transcribes while somebody speaks. [`Take::clip`] holds them all.
    Samples(Vec<f32>),
    Ended(Box<Take>),
}

/// A recording that runs.
pub struct Listener {
    resampler: Resampler,
    activity: Activity,
    /// Whether a pause ends it.
    ends_at_pause: bool,
    /// Samples that may come.
    limit: usize,
    samples: Vec<f32>,
    /// Samples whose level was told.
    measured: usize,
    speech: Option<Duration>,
}

impl Listener {
    /// `rate`: frames a second of what comes. `pause`: the silence that ends it, if any does. None for an impossible rate.
    pub fn new(rate: u32, limit: Duration, pause: Option<Duration>) -> Option<Self> {
        let settings = ActivitySettings::default();
        Some(Self {
            resampler: Resampler::new(rate, 1)?,
            activity: Activity::new(ActivitySettings { pause: pause.unwrap_or(settings.pause), ..settings }),
            ends_at_pause: pause.is_some(),
            limit: (limit.as_secs_f64() * f64::from(RATE)) as usize,
            samples: Vec::new(),
            measured: 0,
            speech: None,
        })
    }

    /// Takes the next frames, tells what was heard in them, and why the recording ends with them where it does.
    pub fn push(&mut self, frames: &[f32], tell: &mut dyn FnMut(Heard)) -> Option<End> {
        let before = self.samples.len();
        self.resampler.push(frames, &mut self.samples);
        self.heard(before, tell)
    }

    /// What was recorded, and at which end.
    pub fn finish(mut self, end: End, device: String, tell: &mut dyn FnMut(Heard)) -> Take {
        let before = self.samples.len();
        self.resampler.finish(&mut self.samples);
        self.heard(before, tell);
        Take {
            level: Level::of(&self.samples),
            clip: Clip { samples: self.samples },
            end,
            device,
            speech: self.speech,
            dropped: 0,
            overruns: 0,
        }
    }

    fn heard(&mut self, before: usize, tell: &mut dyn FnMut(Heard)) -> Option<End> {
        let full = self.samples.len() >= self.limit;
        self.samples.truncate(self.limit);
        let new = &self.samples[before.min(self.limit)..];
        if new.is_empty() {
            return full.then_some(End::Limit);
        }
        let events = self.activity.push(new);
        tell(Heard::Samples(new.to_vec()));
        for block in self.samples[self.measured..].chunks_exact(LEVEL_EVERY) {
            self.measured += LEVEL_EVERY;
            tell(Heard::Level(Level::of(block)));
        }
        for event in events {
            match event {
                ActivityEvent::Began { at } => {
                    let at = Duration::from_secs_f64(at as f64 / f64::from(RATE));
                    self.speech.get_or_insert(at);
                    tell(Heard::SpeechBegan(at));
                }
                ActivityEvent::Ended { .. } if self.ends_at_pause => return Some(End::Pause),
                ActivityEvent::Ended { .. } => {}
            }
        }
        full.then_some(End::Limit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::f32::consts::TAU;

    use super::*;

    /// What is told and how it ended, when this comes in blocks of 20 ms.
    fn listen(mut listener: Listener, rate: u32, sound: &[f32]) -> (Vec<Heard>, Take) {
        let mut told = Vec::new();
        let mut end = End::Stopped;
        for block in sound.chunks(rate as usize / 50) {
            if let Some(reason) = listener.push(block, &mut |heard| told.push(heard)) {
                end = reason;
                break;
            }
        }
        let take = listener.finish(end, "test".into(), &mut |heard| told.push(heard));
        (told, take)
    }

    /// Something that sounds like vowels: a voice of 120 Hz with formants, in syllables.
    fn babble(rate: u32, seconds: f32) -> Vec<f32> {
        let samples = (rate as f32 * seconds) as usize;
        let voice = |n: usize| {
            let at = n as f32 / rate as f32;
            let pitch = 120.0 + 12.0 * (TAU * 2.0 * at).sin();
            let formant = |hertz: f32, centre: f32, width: f32| (-((hertz - centre) / width).powi(2)).exp();
            let open = 0.5 + 0.5 * (TAU * 1.5 * at).sin();
            let sum: f32 = (1..25)
                .map(|k| {
                    let hertz = pitch * k as f32;
                    let loud = formant(hertz, 500.0 + 250.0 * open, 120.0) + 0.5 * formant(hertz, 1500.0, 180.0);
                    loud * (TAU * 120.0 * k as f32 * at + 0.3 * k as f32).sin()
                })
                .sum();
            0.2 * sum * (0.2 + 0.8 * (TAU * 4.0 * at).sin().abs())
        };
        (0..samples).map(voice).collect()
    }

    #[test]
    fn a_pause_after_speech_ends_it_and_silence_before_does_not() {
        let rate = 48_000;
        let mut sound = vec![0.0; 2 * rate as usize];
        sound.extend(babble(rate, 2.0));
        sound.extend(vec![0.0; 4 * rate as usize]);
        let listener = Listener::new(rate, Duration::from_secs(30), Some(Duration::from_millis(800))).unwrap();
        let (told, take) = listen(listener, rate, &sound);
        assert_eq!(take.end, End::Pause);
        let began = take.speech.unwrap().as_secs_f64();
        assert!((1.9..2.5).contains(&began), "began at {began}");
        let length = take.clip.duration().as_secs_f64();
        assert!((4.6..5.2).contains(&length), "it took {length} s");
        assert!(told.iter().any(|heard| matches!(heard, Heard::SpeechBegan(at) if Some(*at) == take.speech)));
    }

    #[test]
    fn without_a_pause_only_the_limit_ends_it_to_the_sample() {
        let rate = 44_100;
        let mut sound = babble(rate, 1.0);
        sound.extend(vec![0.0; 10 * rate as usize]);
        let (told, take) = listen(Listener::new(rate, Duration::from_secs(3), None).unwrap(), rate, &sound);
        assert_eq!((take.end, take.clip.samples.len()), (End::Limit, 3 * RATE as usize));
        assert_eq!(told.iter().filter(|heard| matches!(heard, Heard::Level(_))).count(), 60);
        let streamed: Vec<f32> = told
            .into_iter()
            .filter_map(|heard| if let Heard::Samples(samples) = heard { Some(samples) } else { None })
            .flatten()
            .collect();
        assert_eq!(streamed, take.clip.samples);
    }

    #[test]
    fn silence_and_distortion_are_noticed() {
        let listener = || Listener::new(16_000, Duration::from_secs(5), None).unwrap();
        let (_, take) = listen(listener(), 16_000, &vec![0.0; 16_000]);
        assert_eq!(take.trouble(), Some(super::super::Trouble::Silent));
        let loud: Vec<f32> = babble(16_000, 1.0).iter().map(|sample| (sample * 20.0).clamp(-1.0, 1.0)).collect();
        let (_, take) = listen(listener(), 16_000, &loud);
        assert_eq!(take.trouble(), Some(super::super::Trouble::TooLoud));
    }
}
