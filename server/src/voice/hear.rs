//! From sound to text with the repository's own words in it.

use std::sync::Arc;

use cadence_protocol::{ParseContext, Transcription};
use cadence_speech::audio::{self, AudioError, Clip};
use cadence_speech::engine::{EngineError, EnginesError, ErrorKind, Live, Request, Transcript};

use super::{Ears, Voice, Words};

/// Tokens of a prompt that Whisper reads.
const PROMPT_TOKENS: usize = 224;
/// Terms that an engine is told to listen for, at most.
const KEYTERMS: usize = 100;

/// What to do where no engine is set up.
pub const SET_UP_AN_ENGINE: &str = "Set OPENAI_API_KEY or DEEPGRAM_API_KEY, or name a server of your own: \
                                    cadence config set voice.openai.base_url http://127.0.0.1:8080/v1";

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum HearError {
    #[error("{0}")]
    Audio(#[from] AudioError),
    #[error("{0}")]
    Engines(#[from] EnginesError),
    #[error("speech is not set up as it has to be: {0}")]
    Settings(String),
}

impl HearError {
    /// A word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Audio(_) => "bad_audio",
            Self::Engines(EnginesError::None) => "no_engine",
            Self::Engines(EnginesError::Silence) => "silence",
            Self::Engines(EnginesError::Failed(_)) => "engine_failed",
            Self::Settings(_) => "bad_settings",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Audio(_) => Some("Send wav, mp3, m4a, flac, ogg or webm.".to_owned()),
            Self::Engines(EnginesError::None) => Some(SET_UP_AN_ENGINE.to_owned()),
            Self::Engines(EnginesError::Silence) => {
                Some("Is the right microphone chosen, and not muted? `cadence voice devices` lists them.".to_owned())
            }
            Self::Engines(EnginesError::Failed(failed)) => failed.last().map(hint_of),
            Self::Settings(_) => None,
        }
    }

    /// Whether the engine refused for its own load or absence, so that the same may work later.
    pub fn passes(&self) -> bool {
        let Self::Engines(EnginesError::Failed(failed)) = self else { return false };
        let passes = |kind: ErrorKind| {
            matches!(kind, ErrorKind::RateLimited { .. } | ErrorKind::Unavailable | ErrorKind::Timeout)
        };
        failed.iter().any(|error| passes(error.kind))
    }
}

/// What to do about an engine, as a sentence.
pub fn hint_of(error: &EngineError) -> String {
    let mut letters = error.hint().chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>() + ".").unwrap_or_default()
}

/// Somebody who speaks, and whose words may be heard already.
pub struct Listening {
    ears: Ears,
    words: Arc<Words>,
    request: Request,
    live: Option<Live>,
    samples: Vec<f32>,
}

impl Listening {
    /// The engine that listens first.
    pub fn engine(&self) -> &'static str {
        self.ears.engines.names().first().copied().unwrap_or("none")
    }

    /// What was understood so far, each time that it changes; none where the engine hears only the whole.
    pub fn interim(&self) -> Option<tokio::sync::watch::Receiver<String>> {
        self.live.as_ref().map(Live::interim)
    }

    /// Takes more of it: samples, mono, 16 kHz.
    pub fn push(&mut self, samples: &[f32]) {
        self.samples.extend_from_slice(samples);
        if let Some(live) = &self.live
            && let Err(error) = live.send(samples)
        {
            // The whole is sent at the end.
            tracing::warn!(%error, "the stream of speech broke off");
            self.live = None;
        }
    }

    /// How much there is, in samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// The words of the repository that is spoken of.
    pub fn words(&self) -> &Arc<Words> {
        &self.words
    }

    /// The text of what was said.
    pub async fn finish(self) -> Result<Transcription, HearError> {
        let clip = Arc::new(Clip { samples: self.samples });
        let seconds = clip.duration().as_secs_f64();
        if let Some(live) = self.live {
            // Listening to minutes takes a while, which the event loop does not wait for.
            let whole = Arc::clone(&clip);
            let summary = tokio::task::spawn_blocking(move || audio::summary(&whole));
            match live.finish().await {
                Ok(transcript) => {
                    let summary = summary.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                    let speech = summary.speech;
                    let text = cadence_speech::engine::plausible(&transcript.text, speech);
                    let text = text.ok_or(EnginesError::Silence)?;
                    return Ok(written(Transcript { text, ..transcript }, seconds, &self.words));
                }
                Err(error) if error.kind == ErrorKind::Silence => return Err(EnginesError::Silence.into()),
                Err(error) => tracing::warn!(%error, "the stream of speech broke off"),
            }
        }
        let request = Request { clip, ..self.request };
        let heard = self.ears.engines.transcribe(&request).await?;
        Ok(written(heard.transcript, seconds, &self.words))
    }
}

impl Voice {
    /// Gets ready for somebody to speak: opens connections, and a stream where the engine hears while somebody speaks.
    pub async fn listen(
        &self,
        language: Option<String>,
        context: &ParseContext,
        words: Arc<Words>,
        live: bool,
    ) -> Result<Listening, HearError> {
        let now = self.now();
        let ears = self.ears(&now, &context.environment)?;
        if ears.engines.is_empty() {
            return Err(EnginesError::None.into());
        }
        let request = Request {
            clip: Arc::default(),
            language: language.or_else(|| now.settings.language.clone()),
            prompt: Some(words.vocabulary.prompt(PROMPT_TOKENS)).filter(|prompt| !prompt.is_empty()),
            keyterms: words.vocabulary.keyterms(KEYTERMS).into_iter().map(str::to_owned).collect(),
        };
        let stream = match &ears.live {
            Some(deepgram) if live => match deepgram.live(&request).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    tracing::warn!(%error, "speech cannot be streamed; it is sent when it is whole");
                    None
                }
            },
            _ => None,
        };
        if stream.is_none() && live {
            let engines = ears.engines.clone();
            tokio::spawn(async move { engines.warm_up().await });
        }
        Ok(Listening { ears, words, request, live: stream, samples: Vec::new() })
    }

    /// The text of a file.
    pub async fn transcribe(
        &self,
        file: bytes::Bytes,
        language: Option<String>,
        context: &ParseContext,
        words: Arc<Words>,
    ) -> Result<Transcription, HearError> {
        let mut listening = self.listen(language, context, words, false).await?;
        let decoded = tokio::task::spawn_blocking(move || audio::decode(&file));
        let clip = decoded.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        listening.samples = clip.samples;
        listening.finish().await
    }
}

fn written(transcript: Transcript, seconds: f64, words: &Words) -> Transcription {
    Transcription {
        text: words.lexicon.restore(&transcript.text).text,
        raw_text: transcript.text,
        duration: seconds,
        language: transcript.language.unwrap_or_else(|| "und".to_owned()),
        segments: transcript.segments,
        engine: transcript.engine.to_owned(),
        model: transcript.model,
    }
}
