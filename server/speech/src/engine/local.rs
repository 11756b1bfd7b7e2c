//! whisper.cpp in this process: nothing that is said leaves the machine.

mod ggml;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use cadence_protocol::Segment;
use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperError, get_lang_id, get_lang_str,
};

use super::{BoxFuture, Engine, EngineError, ErrorKind, Request, Transcript};

const NAME: &str = "local";

/// Threads beyond which whisper.cpp does not get faster.
const MOST_THREADS: usize = 8;

/// Characters of a prompt that are given; the model reads the last 224 tokens.
const MAX_PROMPT: usize = 1_000;

/// Which model runs, and how.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// A file in ggml format, as [`super::models`] downloads them.
    pub model: PathBuf,
    pub threads: usize,
    /// For the whole of a transcription, loading included.
    pub limit: Duration,
}

impl LocalSettings {
    /// As many threads as there are cores, up to 8, and two minutes.
    pub fn new(model: PathBuf) -> Self {
        let threads = available_parallelism().map_or(4, usize::from).min(MOST_THREADS);
        Self { model, threads, limit: Duration::from_secs(120) }
    }
}

/// A model of whisper.cpp, loaded when it is first needed and then kept. One recording is transcribed at a time.
pub struct Local {
    settings: LocalSettings,
    loaded: Arc<Mutex<Option<Loaded>>>,
}

struct Loaded {
    context: WhisperContext,
    multilingual: bool,
}

impl Local {
    pub fn new(settings: LocalSettings) -> Self {
        Self { settings, loaded: Arc::default() }
    }

    /// Runs on a thread of its own, for seconds. One that takes too long is not waited for but cannot be stopped: whisper-rs
    /// 0.16 has no safe way to, and the next recording waits for it.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalSettings, &mut Option<Loaded>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (settings, loaded) = (self.settings.clone(), Arc::clone(&self.loaded));
        let limit = settings.limit;
        let task = tokio::task::spawn_blocking(move || work(&settings, &mut lock(&loaded)));
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => Err(EngineError::new(NAME, ErrorKind::Unusable).because(&error.to_string(), None)),
            Err(_) => Err(EngineError::new(NAME, ErrorKind::Timeout)),
        }
    }
}

impl Engine for Local {
    fn name(&self) -> &'static str {
        NAME
    }

    fn transcribe<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Transcript, EngineError>> {
        let request = request.clone();
        Box::pin(self.apart(move |settings, loaded| transcribe(settings, load(settings, loaded)?, &request)))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.apart(|settings, loaded| load(settings, loaded).map(drop)))
    }
}

fn lock(loaded: &Mutex<Option<Loaded>>) -> MutexGuard<'_, Option<Loaded>> {
    loaded.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load<'a>(settings: &LocalSettings, loaded: &'a mut Option<Loaded>) -> Result<&'a Loaded, EngineError> {
    // Else the library writes to stderr, on which somebody may look at a dashboard.
    static LOGGING: Once = Once::new();
    LOGGING.call_once(whisper_rs::install_logging_hooks);
    match loaded {
        Some(loaded) => Ok(loaded),
        empty => {
            let unusable = |why: String| EngineError::new(NAME, ErrorKind::Unusable).because(&why, None);
            File::open(&settings.model)
                .and_then(|file| ggml::check(&mut BufReader::new(file)))
                .map_err(|error| unusable(format!("{}: {error}", settings.model.display())))?;
            let context = WhisperContext::new_with_params(&settings.model, WhisperContextParameters::default())
                .map_err(|error| unusable(format!("{}: {error}", settings.model.display())))?;
            let multilingual = context.is_multilingual();
            Ok(empty.insert(Loaded { context, multilingual }))
        }
    }
}

fn transcribe(settings: &LocalSettings, loaded: &Loaded, request: &Request) -> Result<Transcript, EngineError> {
    let failed = |error: WhisperError| EngineError::new(NAME, ErrorKind::Unavailable).because(&error.to_string(), None);
    let language = language(loaded, request)?;
    let mut parameters = FullParams::new(SamplingStrategy::BeamSearch { beam_size: 5, patience: -1.0 });
    parameters.set_n_threads(i32::try_from(settings.threads.max(1)).unwrap_or(i32::MAX));
    parameters.set_language(Some(language.as_deref().unwrap_or("auto")));
    parameters.set_translate(false);
    parameters.set_no_context(true);
    parameters.set_suppress_blank(true);
    parameters.set_suppress_nst(true);
    parameters.set_print_special(false);
    parameters.set_print_progress(false);
    parameters.set_print_realtime(false);
    parameters.set_print_timestamps(false);
    if let Some(prompt) = prompt(request) {
        parameters.set_initial_prompt(&prompt);
    }
    let mut state = loaded.context.create_state().map_err(failed)?;
    state.full(parameters, &request.clip.samples).map_err(failed)?;
    let segments: Vec<Segment> = state
        .as_iter()
        .filter_map(|segment| {
            let text = segment.to_str_lossy().ok()?.trim().to_owned();
            // Timestamps are hundredths of a second.
            let seconds = |hundredths: i64| hundredths as f64 / 100.0;
            let (start, end) = (seconds(segment.start_timestamp()), seconds(segment.end_timestamp()));
            (!text.is_empty()).then_some(Segment { start, end, text })
        })
        .collect();
    if segments.is_empty() {
        return Err(EngineError::new(NAME, ErrorKind::Silence));
    }
    let texts: Vec<&str> = segments.iter().map(|segment| segment.text.as_str()).collect();
    let heard = get_lang_str(state.full_lang_id_from_state()).map(str::to_owned);
    Ok(Transcript {
        text: texts.join(" "),
        language: language.or(heard),
        segments,
        engine: NAME,
        model: settings.model.file_stem().map(|name| name.to_string_lossy().into_owned()),
    })
}

/// The language that is asked for; `None` where the model is to find out.
fn language(loaded: &Loaded, request: &Request) -> Result<Option<String>, EngineError> {
    let refused = |why: String| EngineError::new(NAME, ErrorKind::Refused).because(&why, None);
    let asked = request.language.as_deref().map(|language| {
        // The library panics at a NUL.
        if language.contains('\0') || get_lang_id(language).is_none() {
            return Err(refused(format!("the language `{}` is not known", language.escape_debug())));
        }
        Ok(language.to_owned())
    });
    match asked.transpose()? {
        Some(language) if !loaded.multilingual && language != "en" => {
            Err(refused("the model knows English only".to_owned()))
        }
        None if !loaded.multilingual => Ok(Some("en".to_owned())),
        language => Ok(language),
    }
}

fn prompt(request: &Request) -> Option<String> {
    let terms = || Some(request.keyterms.join(", ")).filter(|terms| !terms.is_empty());
    let prompt = request.prompt.clone().filter(|prompt| !prompt.trim().is_empty()).or_else(terms)?;
    let skipped = prompt.chars().count().saturating_sub(MAX_PROMPT);
    Some(prompt.chars().skip(skipped).filter(|c| *c != '\0').collect())
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
