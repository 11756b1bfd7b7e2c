//! Where somebody speaks.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use earshot::Detector;

use super::{Clip, Level, samples_in};

/// Samples that the detector judges at once: 16 ms.
const FRAME: usize = 256;

/// What is kept around speech when it is cut out: consonants that begin and end a word are quiet.
const MARGIN: Duration = Duration::from_millis(250);

/// When something counts as speech.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivitySettings {
    /// Silence after which somebody has finished.
    pub pause: Duration,
    /// Speech that must come within twice its length before it counts: a cough or a key is shorter.
    pub onset: Duration,
    /// How sure the detector must be, 0 to 1, that speech begins: a fan that is switched on gets 0.63.
    pub begin: f32,
    /// How sure it must be that speech goes on: ends of words are quiet.
    pub hold: f32,
    /// A frame whose root mean square is below this, in dBFS, is silence whatever it sounds like.
    pub floor: f32,
}

impl Default for ActivitySettings {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(1_200),
            onset: Duration::from_millis(96),
            begin: 0.65,
            hold: 0.5,
            floor: -55.0,
        }
    }
}

/// What happened while somebody was listened to. Samples are counted from the first that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivityEvent {
    /// Speech began at this sample; it is told when the onset is over.
    Began { at: u64 },
    /// Speech ended at this sample; it is told when the pause is over.
    Ended { at: u64 },
}

/// Hears speech begin and end in a stream of [`super::RATE`] samples a second.
pub struct Activity {
    frames: Frames,
    begin: f32,
    hold: f32,
    pause: u64,
    onset: usize,
    /// The newest judgements, twice the onset.
    recent: VecDeque<bool>,
    /// Frames judged so far, and those of them that are part of an utterance.
    judged: u64,
    spoken: u64,
    /// Frame after the last one with speech, while somebody speaks.
    speaking: Option<u64>,
}

impl Activity {
    pub fn new(settings: ActivitySettings) -> Self {
        let frames = |duration: Duration| samples_in(duration).div_ceil(FRAME).max(1);
        Self {
            frames: Frames::new(settings),
            begin: settings.begin,
            hold: settings.hold,
            pause: frames(settings.pause) as u64,
            onset: frames(settings.onset).min(1_000),
            recent: VecDeque::new(),
            judged: 0,
            spoken: 0,
            speaking: None,
        }
    }

    /// Takes the next samples, of any number, and says what happened.
    pub fn push(&mut self, samples: &[f32]) -> Vec<ActivityEvent> {
        let mut scores = Vec::new();
        self.frames.push(samples, &mut scores);
        scores.into_iter().filter_map(|score| self.judge(score)).collect()
    }

    /// Whether speech has begun and the pause after it is not over.
    pub fn is_speaking(&self) -> bool {
        self.speaking.is_some()
    }

    /// How much speech there was so far.
    pub fn speech(&self) -> Duration {
        duration_of(self.spoken)
    }

    /// How long it has been silent since the last speech; none where nobody speaks.
    pub fn silence(&self) -> Option<Duration> {
        self.speaking.map(|end| duration_of(self.judged.saturating_sub(end)))
    }

    fn judge(&mut self, score: f32) -> Option<ActivityEvent> {
        self.judged += 1;
        if let Some(end) = &mut self.speaking {
            if score >= self.hold {
                *end = self.judged;
                self.spoken += 1;
            } else if self.judged - *end >= self.pause {
                let at = *end * FRAME as u64;
                self.speaking = None;
                return Some(ActivityEvent::Ended { at });
            }
            return None;
        }
        self.recent.push_back(score >= self.begin);
        if self.recent.len() > self.onset * 2 {
            self.recent.pop_front();
        }
        let voiced = self.recent.iter().filter(|voiced| **voiced).count();
        if voiced < self.onset {
            return None;
        }
        let first = self.recent.iter().position(|voiced| *voiced).unwrap_or_default();
        let at = (self.judged - (self.recent.len() - first) as u64) * FRAME as u64;
        self.speaking = Some(self.judged);
        self.spoken += voiced as u64;
        self.recent.clear();
        Some(ActivityEvent::Began { at })
    }
}

/// What a clip holds, for a decision whether it is worth an engine's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub duration: Duration,
    /// How much of it is speech, pauses not counted.
    pub speech: Duration,
    pub level: Level,
}

/// Listens to the whole of a clip.
pub fn summary(clip: &Clip) -> Summary {
    let (spoken, _) = listened(clip);
    Summary { duration: clip.duration(), speech: duration_of(spoken), level: Level::of(&clip.samples) }
}

/// The samples from a margin of 250 ms before the first word to one after the last; `None` where nobody speaks.
pub fn spoken_range(clip: &Clip) -> Option<Range<usize>> {
    let (_, range) = listened(clip);
    let margin = samples_in(MARGIN);
    range.map(|range| range.start.saturating_sub(margin)..(range.end + margin).min(clip.samples.len()))
}

/// The clip without the silence before and after what is said; empty where nobody speaks.
pub fn trim(clip: &Clip) -> Clip {
    let samples = spoken_range(clip).and_then(|range| clip.samples.get(range)).unwrap_or_default();
    Clip { samples: samples.to_vec() }
}

/// Frames of utterances, and the samples from the first to the last.
fn listened(clip: &Clip) -> (u64, Option<Range<usize>>) {
    let mut activity = Activity::new(ActivitySettings::default());
    let mut range: Option<Range<usize>> = None;
    for event in activity.push(&clip.samples) {
        match (event, &mut range) {
            (ActivityEvent::Began { at }, None) => range = Some(at as usize..clip.samples.len()),
            (ActivityEvent::Began { .. }, Some(range)) => range.end = clip.samples.len(),
            (ActivityEvent::Ended { at }, Some(range)) => range.end = at as usize,
            (ActivityEvent::Ended { .. }, None) => {}
        }
    }
    if let (Some(end), Some(range)) = (activity.speaking, &mut range) {
        range.end = (end as usize * FRAME).min(clip.samples.len());
    }
    (activity.spoken, range)
}

fn duration_of(frames: u64) -> Duration {
    Duration::from_secs_f64(frames as f64 * FRAME as f64 / f64::from(super::RATE))
}

/// Cuts sound into frames, and scores each.
struct Frames {
    detector: Box<Detector>,
    waiting: Vec<f32>,
    floor: f32,
}

impl Frames {
    fn new(settings: ActivitySettings) -> Self {
        Self { detector: Box::default(), waiting: Vec::with_capacity(FRAME), floor: settings.floor }
    }

    /// Appends how sure it is of each frame that it is speech, 0 to 1.
    fn push(&mut self, samples: &[f32], scores: &mut Vec<f32>) {
        for &sample in samples {
            // The detector wants samples of the scale.
            self.waiting.push(if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 });
            if self.waiting.len() == FRAME {
                let score = self.detector.predict_f32(&self.waiting);
                let loud = Level::of(&self.waiting).rms >= self.floor;
                scores.push(if loud { score } else { 0.0 });
                self.waiting.clear();
            }
        }
    }
}

#[cfg(test)]
#[path = "activity_tests.rs"]
mod tests;
