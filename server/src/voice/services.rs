//! Engines and models as settings and environment say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cadence_speech::Settings;
use cadence_speech::engine::{
    Deepgram, DeepgramSettings, Engine, EngineError, Engines, OpenAi, OpenAiSettings, Patience,
};
use cadence_speech::intent::Model;
use cadence_speech::settings::{Asked, EngineKind, Service, parse_address};
use secrecy::SecretString;
use url::Url;

/// Where models of whisper.cpp are kept, below the data.
pub const MODELS: &str = "models";

/// Engines that speech is sent to.
#[derive(Clone)]
pub struct Ears {
    pub engines: Engines,
    /// The first one, where it hears while somebody speaks.
    pub live: Option<Arc<Deepgram>>,
}

/// An engine, none where it is not set up, or what is wrong with its settings.
pub type Found = Result<Option<Arc<dyn Engine>>, String>;

/// What can be asked, and with whose keys.
pub struct Services<'a> {
    settings: &'a Settings,
    environment: BTreeMap<String, String>,
    http: &'a OnceLock<reqwest::Client>,
}

impl<'a> Services<'a> {
    pub fn new(
        settings: &'a Settings,
        environment: BTreeMap<String, String>,
        http: &'a OnceLock<reqwest::Client>,
    ) -> Self {
        Self { settings, environment, http }
    }

    /// The client for models. It follows no redirects, which would take keys along to somewhere else.
    fn http(&self) -> Option<reqwest::Client> {
        if let Some(client) = self.http.get() {
            return Some(client.clone());
        }
        match reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build() {
            Ok(client) => Some(self.http.get_or_init(|| client).clone()),
            Err(error) => {
                tracing::error!(%error, "no model can be asked");
                None
            }
        }
    }

    fn key(&self, name: &str) -> Option<SecretString> {
        self.environment.get(name).map(|value| SecretString::from(value.trim()))
    }

    /// The environment over the settings.
    fn address(&self, name: &str, set: Option<&Url>) -> Result<Option<Url>, String> {
        match self.environment.get(name) {
            Some(value) => parse_address(value).map(Some).map_err(|why| format!("{name}: {why}")),
            None => Ok(set.cloned()),
        }
    }

    /// The engines in their order. Those that are named and cannot be used are an error; where none is named, those that are
    /// set up are taken.
    pub fn ears(&self, models: PathBuf) -> Result<Ears, String> {
        let (wanted, named) = (self.wanted(), &self.settings.engines);
        let mut ears = Ears { engines: Engines::default(), live: None };
        let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
        let made = |error: EngineError| error.to_string();
        for kind in wanted {
            match kind {
                EngineKind::Openai => {
                    if let Some(settings) = self.openai()? {
                        engines.push(Arc::new(OpenAi::new(settings).map_err(made)?));
                    } else if !named.is_empty() {
                        return Err("the engine `openai` needs OPENAI_API_KEY, or an address of your own".to_owned());
                    }
                }
                EngineKind::Deepgram => {
                    if let Some(settings) = self.deepgram()? {
                        let deepgram = Arc::new(Deepgram::new(settings).map_err(made)?);
                        if engines.is_empty() {
                            ears.live = Some(deepgram.clone());
                        }
                        engines.push(deepgram);
                    } else if !named.is_empty() {
                        return Err("the engine `deepgram` needs DEEPGRAM_API_KEY".to_owned());
                    }
                }
                EngineKind::Local => match local(self.settings, &models) {
                    Ok(Some(engine)) => engines.push(engine),
                    Ok(None) => {}
                    Err(why) if named.is_empty() => tracing::debug!(why, "no local engine"),
                    Err(why) => return Err(why),
                },
            }
        }
        ears.engines = Engines::new(engines);
        Ok(ears)
    }

    /// The engines that are named, or all.
    fn wanted(&self) -> &'a [EngineKind] {
        const ALL: [EngineKind; 3] = [EngineKind::Deepgram, EngineKind::Openai, EngineKind::Local];
        if self.settings.engines.is_empty() { &ALL } else { &self.settings.engines }
    }

    /// Each engine by itself, for whoever looks for a fault, in the order in which they are asked.
    pub fn each(&self, models: &Path) -> Vec<(EngineKind, Found)> {
        let one = |kind: &EngineKind| -> Found {
            let made = |error: EngineError| error.to_string();
            Ok(match kind {
                EngineKind::Openai => match self.openai()? {
                    Some(settings) => Some(Arc::new(OpenAi::new(settings).map_err(made)?) as Arc<dyn Engine>),
                    None => None,
                },
                EngineKind::Deepgram => match self.deepgram()? {
                    Some(settings) => Some(Arc::new(Deepgram::new(settings).map_err(made)?) as Arc<dyn Engine>),
                    None => None,
                },
                EngineKind::Local => local(self.settings, models)?,
            })
        };
        self.wanted().iter().map(|kind| (*kind, one(kind))).collect()
    }

    fn openai(&self) -> Result<Option<OpenAiSettings>, String> {
        let set = &self.settings.openai;
        let address = self.address("OPENAI_BASE_URL", set.base_url.as_ref())?;
        let key = self.key("OPENAI_API_KEY");
        if address.is_none() && key.is_none() {
            return Ok(None);
        }
        let usual = Url::parse("https://api.openai.com/v1").map_err(|error| error.to_string())?;
        let mut settings = OpenAiSettings::new(address.unwrap_or(usual));
        settings.key = key;
        settings.patience = patience(set);
        settings.temperature = set.temperature;
        if let Some(model) = &set.model {
            settings.model.clone_from(model);
        }
        Ok(Some(settings))
    }

    fn deepgram(&self) -> Result<Option<DeepgramSettings>, String> {
        let set = &self.settings.deepgram;
        let Some(key) = self.key("DEEPGRAM_API_KEY") else { return Ok(None) };
        let usual = Url::parse("https://api.deepgram.com").map_err(|error| error.to_string())?;
        let mut url = self.address("DEEPGRAM_URL", set.base_url.as_ref())?.unwrap_or(usual);
        // It is given for the stream, and for the recording over HTTP as well.
        let scheme = match url.scheme() {
            "ws" => "http",
            "wss" => "https",
            other => other,
        }
        .to_owned();
        let _ = url.set_scheme(&scheme);
        let mut settings = DeepgramSettings::new(url, key);
        settings.patience = patience(set);
        if let Some(model) = &set.model {
            settings.model.clone_from(model);
        }
        Ok(Some(settings))
    }

    /// The model that is asked where the grammar is not sure.
    pub fn model(&self) -> Option<Model> {
        let settings = &self.settings.understanding;
        let anthropic = self.key("ANTHROPIC_API_KEY");
        let provider = settings.provider.unwrap_or(match anthropic {
            Some(_) => Asked::Anthropic,
            None => Asked::Nobody,
        });
        let address = |name: &str| match self.address(name, settings.base_url.as_ref()) {
            Ok(address) => address.map(String::from),
            Err(error) => {
                tracing::warn!(error, "the address of the model that understands is left out");
                None
            }
        };
        let (model, address) = match provider {
            Asked::Nobody => return None,
            Asked::Anthropic => (Model::anthropic(self.http()?, anthropic?), address("ANTHROPIC_BASE_URL")),
            Asked::Openai => {
                let name = settings.model.clone().unwrap_or_else(|| "gpt-4o-mini".to_owned());
                let model = Model::openai(self.http()?, self.key("OPENAI_API_KEY"), name);
                // A server of one's own is named in the settings; the variable is for the engine as well.
                (model, settings.base_url.clone().map(String::from).or_else(|| address("OPENAI_BASE_URL")))
            }
        };
        let model = address.into_iter().fold(model, |model, address| model.at(address));
        let model = settings.model.iter().fold(model, |model, name| model.named(name.clone()));
        Some(settings.timeout.into_iter().fold(model, Model::within))
    }
}

fn patience(set: &Service) -> Patience {
    let usual = Patience::default();
    Patience { limit: set.timeout.unwrap_or(usual.limit), ..usual }
}

#[cfg(feature = "local")]
fn local(settings: &Settings, models: &Path) -> Result<Option<Arc<dyn Engine>>, String> {
    use cadence_speech::engine::{Local, LocalSettings, models as known};
    let directory = models.to_owned();
    let path = match &settings.local.model {
        Some(name) => match known::find(name) {
            Some(model) => directory.join(model.file()),
            None => PathBuf::from(name),
        },
        // Whatever was pulled last.
        None => {
            let files = std::fs::read_dir(&directory).into_iter().flatten().flatten();
            let models = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "bin"));
            match models.max_by_key(|file| file.metadata().and_then(|meta| meta.modified()).ok()) {
                Some(file) => file.path(),
                None => return Ok(None),
            }
        }
    };
    if !path.is_file() {
        return Err(format!("the local model {} is not there; `cadence voice models pull` gets one", path.display()));
    }
    let mut local = LocalSettings::new(path);
    if let Some(threads) = settings.local.threads {
        local.threads = usize::from(threads).max(1);
    }
    Ok(Some(Arc::new(Local::new(local))))
}

#[cfg(not(feature = "local"))]
fn local(settings: &Settings, _: &Path) -> Result<Option<Arc<dyn Engine>>, String> {
    if settings.engines.contains(&EngineKind::Local) {
        return Err("this build has no local speech engine (it is built with the feature `local`)".to_owned());
    }
    Ok(None)
}
