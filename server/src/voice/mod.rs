//! Speech: from what is said or written to what it wants, and to what is done.

mod carry;
mod hear;
mod services;
mod vocabularies;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cadence_protocol::{ParseContext, Parsed, Task};
use cadence_speech::Settings;
use cadence_speech::intent::{self, By, Context};
use cadence_speech::vocabulary::VocabularyError;

pub use carry::{CarryError, carry_out, spoken_of};
pub use hear::{HearError, Listening, SET_UP_AN_ENGINE, hint_of};
pub use services::{Ears, MODELS, Services};
pub use vocabularies::{Vocabularies, Words};

/// What speech needs.
pub struct Voice {
    /// Keys and addresses of the server's own environment.
    environment: BTreeMap<String, String>,
    /// Made when a model is first asked: to read the system's certificates takes longer than the start of a server.
    http: OnceLock<reqwest::Client>,
    data: PathBuf,
    again: Option<VoiceReload>,
    now: Mutex<Arc<Now>>,
}

/// Reads the settings of speech again; none where they cannot be read. Asked with each request, so it has to be quick.
#[derive(Clone)]
pub struct VoiceReload(pub Arc<dyn Fn() -> Option<Settings> + Send + Sync>);

impl std::fmt::Debug for VoiceReload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VoiceReload")
    }
}

/// The settings as they are, and what was made of them.
struct Now {
    settings: Settings,
    vocabularies: Vocabularies,
    /// The engines of whoever asked last, with their connections.
    ears: Mutex<Option<(BTreeMap<String, String>, Ears)>>,
}

impl Now {
    fn new(settings: Settings, data: &Path) -> Arc<Self> {
        let replacements = settings.replacements.iter().map(|(from, to)| (from.clone(), to.clone())).collect();
        let vocabularies = Vocabularies::new(data.join("vocabularies"), replacements);
        Arc::new(Self { settings, vocabularies, ears: Mutex::default() })
    }
}

/// Variables that say where services are and let somebody in.
pub const VARIABLES: [&str; 6] = [
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "DEEPGRAM_API_KEY",
    "DEEPGRAM_URL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
];

impl Voice {
    /// With the server's settings and environment; what is found out of repositories is kept below `data`, where local models
    /// are, too. With `again`, settings that people change while the server runs count from the next request on.
    pub fn new(
        settings: Settings,
        again: Option<VoiceReload>,
        environment: BTreeMap<String, String>,
        data: &Path,
    ) -> Self {
        let now = Mutex::new(Now::new(settings, data));
        Self { environment, http: OnceLock::new(), data: data.to_owned(), again, now }
    }

    /// Settings that cannot be read are as they were.
    fn now(&self) -> Arc<Now> {
        let read = self.again.as_ref().and_then(|again| again.0());
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(settings) = read.filter(|settings| *settings != now.settings) {
            tracing::info!("the settings of speech have changed");
            *now = Now::new(settings, &self.data);
        }
        now.clone()
    }

    /// The services as the settings, the server's environment and that of whoever asks say.
    fn services<'a>(&'a self, now: &'a Now, asker: &BTreeMap<String, String>) -> Services<'a> {
        Services::new(&now.settings, self.environment_of(asker), &self.http)
    }

    fn environment_of(&self, asker: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        environment.extend(VARIABLES.into_iter().filter_map(|name| {
            asker.get(name).filter(|value| !value.trim().is_empty()).map(|value| (name.to_owned(), value.clone()))
        }));
        environment
    }

    /// The engines. Those of whoever asked last are kept: their connections are open, and a local model is loaded.
    fn ears(&self, now: &Now, asker: &BTreeMap<String, String>) -> Result<Ears, HearError> {
        let environment = self.environment_of(asker);
        let mut kept = now.ears.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, ears)) = kept.as_ref()
            && *of == environment
            && !ears.engines.is_empty()
        {
            return Ok(ears.clone());
        }
        let ears = self.services(now, asker).ears(self.data.join(MODELS)).map_err(HearError::Settings)?;
        *kept = Some((environment, ears.clone()));
        Ok(ears)
    }

    /// The words that may be spoken of.
    pub async fn words(&self, context: &ParseContext, tasks: &[Task]) -> Result<Arc<Words>, VocabularyError> {
        let now = self.now();
        match &context.repo_path {
            Some(path) => {
                let titles = tasks.iter().map(|task| task.title(120)).collect();
                now.vocabularies.of(Path::new(path), titles).await
            }
            None => {
                let (names, replacements) = (context.vocabulary.clone(), now.vocabularies.replacements().to_vec());
                let made = tokio::task::spawn_blocking(move || Words::of_names(&names, &replacements));
                Ok(Arc::new(made.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))))
            }
        }
    }

    /// What a sentence wants: its identifiers restored, read by the grammar, and by a model where that is not sure.
    pub async fn understand(&self, raw: &str, words: &Words, context: &ParseContext, tasks: &[Task]) -> Parsed {
        let text = words.lexicon.restore(raw).text;
        let repositories: Vec<String> = context.repo_url.iter().cloned().collect();
        let known = Context { tasks, current: context.current, repositories: &repositories };
        let now = self.now();
        let model = self.services(&now, &context.environment).model();
        let understood = intent::understand(&text, raw, &known, model.as_ref()).await;
        if let (By::Grammar, Some(note)) = (&understood.by, &understood.note) {
            tracing::info!(note, "the grammar stands alone");
        }
        Parsed {
            needs_confirmation: intent::needs_confirmation(&understood.command),
            command: understood.command,
            note: understood.note,
        }
    }
}
