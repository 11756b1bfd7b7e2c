use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Engine, EngineError, ErrorKind, Request, Transcript, plausible};
use crate::audio::{self, Clip, RATE};

/// Less speech than this is nobody speaking: no word is as short.
const LEAST_SPEECH: Duration = Duration::from_millis(90);

/// Engines in the order in which they are asked.
#[derive(Clone, Default)]
pub struct Engines {
    engines: Vec<Arc<dyn Engine>>,
}

/// What was heard, and which engines failed before the one that heard it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub transcript: Transcript,
    pub failed: Vec<EngineError>,
}

/// Why there is no text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EnginesError {
    #[error("no speech engine is configured")]
    None,
    /// Nobody speaks in the recording, or what an engine wrote was not said.
    #[error("nobody was heard to speak")]
    Silence,
    /// Each engine failed; in their order.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Failed(Vec<EngineError>),
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.engines.iter().map(|engine| engine.name())).finish()
    }
}

impl Engines {
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self { engines }
    }

    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// The names of the engines, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.engines.iter().map(|engine| engine.name()).collect()
    }

    /// Gets the first engine ready while somebody still speaks.
    pub async fn warm_up(&self) {
        if let Some(engine) = self.engines.first() {
            engine.warm_up().await;
        }
    }

    /// Asks one engine after another until one hears something.
    ///
    /// Silence is not sent to any, and silence around what is said is not sent either: it takes time, and engines make things up
    /// for it. What an engine made up all the same is refused by [`plausible`]; that is silence too, and no other engine is asked.
    ///
    /// # Errors
    /// [`EnginesError`].
    pub async fn transcribe(&self, request: &Request) -> Result<Heard, EnginesError> {
        if self.engines.is_empty() {
            return Err(EnginesError::None);
        }
        let clip = Arc::clone(&request.clip);
        // Listening to ten minutes takes a second or so, which the event loop does not wait for.
        let (speech, offset, trimmed) =
            tokio::task::spawn_blocking(move || spoken_part(&clip)).await.map_err(|_| EnginesError::Silence)?;
        if speech < LEAST_SPEECH {
            return Err(EnginesError::Silence);
        }
        let request = Request { clip: Arc::new(trimmed), ..request.clone() };
        let mut failed = Vec::new();
        for engine in &self.engines {
            match engine.transcribe(&request).await {
                Ok(transcript) => return checked(transcript, speech, offset, failed),
                Err(error) if error.kind == ErrorKind::Silence => return Err(EnginesError::Silence),
                Err(error) => {
                    tracing::warn!(%error, "a speech engine failed");
                    failed.push(error);
                }
            }
        }
        Err(EnginesError::Failed(failed))
    }
}

/// How much speech there is, where what is kept begins in seconds, and what is kept.
fn spoken_part(clip: &Clip) -> (Duration, f64, Clip) {
    let speech = audio::summary(clip).speech;
    let (range, trimmed) = match audio::spoken_range(clip) {
        Some(range) => (range.clone(), clip.samples.get(range).unwrap_or_default().to_vec()),
        None => (0..0, Vec::new()),
    };
    (speech, range.start as f64 / f64::from(RATE), Clip { samples: trimmed })
}

fn checked(
    mut transcript: Transcript,
    speech: Duration,
    offset: f64,
    failed: Vec<EngineError>,
) -> Result<Heard, EnginesError> {
    let Some(text) = plausible(&transcript.text, speech) else { return Err(EnginesError::Silence) };
    transcript.text = text;
    for segment in &mut transcript.segments {
        segment.start += offset;
        segment.end += offset;
    }
    Ok(Heard { transcript, failed })
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
