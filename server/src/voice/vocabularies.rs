//! The words of repositories, kept for those that are spoken of.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cadence_speech::restore::Lexicon;
use cadence_speech::vocabulary::{Scanner, Term, TermKind, Vocabulary, VocabularyError};
use tokio::sync::Mutex as AsyncMutex;

/// Repositories whose words are in memory.
const KEPT: usize = 8;
/// For how long a tree is taken to be as it was. Whoever reads many lines out does not have it looked at for each.
const FRESH: Duration = Duration::from_millis(750);
/// How long is parsed at once behind somebody's back.
const SLICE: Duration = Duration::from_millis(200);
/// Most names that a client may send, and bytes of each.
const MAX_NAMES: usize = 20_000;
const MAX_NAME: usize = 200;

/// What a repository calls things, and how that sounds.
#[derive(Debug)]
pub struct Words {
    pub vocabulary: Vocabulary,
    pub lexicon: Lexicon,
}

impl Words {
    fn new(vocabulary: Vocabulary, replacements: &[(String, String)]) -> Self {
        let names: Vec<String> = vocabulary.names().map(str::to_owned).collect();
        Self { lexicon: Lexicon::new(&names, replacements), vocabulary }
    }

    /// Of names that somebody sent, the most useful first.
    pub fn of_names(names: &[String], replacements: &[(String, String)]) -> Self {
        let fits = |name: &&String| !name.trim().is_empty() && name.len() <= MAX_NAME;
        let term = |(place, name): (usize, &String)| Term {
            text: name.clone(),
            kind: TermKind::Identifier,
            weight: 1.0 / (place + 1) as f32,
        };
        let terms = names.iter().filter(fits).take(MAX_NAMES).enumerate().map(term).collect();
        Self::new(Vocabulary { terms }, replacements)
    }
}

/// A repository that is spoken of.
struct Place {
    scanner: Scanner,
    words: Arc<Words>,
    looked: Instant,
}

type Shared = Arc<AsyncMutex<Option<Place>>>;

/// All repositories that are spoken of, the one used last at the end.
pub struct Vocabularies {
    cache: PathBuf,
    replacements: Vec<(String, String)>,
    known: Mutex<Vec<(PathBuf, Shared)>>,
}

impl Vocabularies {
    /// What is found is kept below `cache`.
    pub fn new(cache: PathBuf, replacements: Vec<(String, String)>) -> Self {
        Self { cache, replacements, known: Mutex::default() }
    }

    pub fn replacements(&self) -> &[(String, String)] {
        &self.replacements
    }

    fn shared(&self, root: &Path) -> Shared {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match known.iter().position(|(path, _)| path == root) {
            Some(at) => known.remove(at),
            None => (root.to_owned(), Shared::default()),
        };
        let shared = place.1.clone();
        known.push(place);
        if known.len() > KEPT {
            known.remove(0);
        }
        shared
    }

    /// The words of a checkout as it is now. What takes longer to find out is found out behind the caller's back.
    pub async fn of(&self, root: &Path, titles: Vec<String>) -> Result<Arc<Words>, VocabularyError> {
        let shared = self.shared(root);
        let mut held = shared.clone().lock_owned().await;
        if let Some(place) = held.as_ref().filter(|place| place.looked.elapsed() < FRESH) {
            return Ok(place.words.clone());
        }
        let (root, cache, replacements) = (root.to_owned(), self.cache.clone(), self.replacements.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let (mut scanner, before) = match held.take() {
                Some(place) => (place.scanner, Some(place.words)),
                None => (Scanner::new(&root, &cache)?, None),
            };
            let vocabulary = scanner.ready(&titles)?;
            let words = match before.filter(|words| words.vocabulary == vocabulary) {
                Some(words) => words,
                None => Arc::new(Words::new(vocabulary, &replacements)),
            };
            *held = Some(Place { scanner, words: words.clone(), looked: Instant::now() });
            drop(held);
            complete(&shared, &titles, &replacements);
            Ok(words)
        });
        looked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Parses what is left, unless somebody does already.
fn complete(shared: &Shared, titles: &[String], replacements: &[(String, String)]) {
    let (shared, titles, replacements) = (shared.clone(), titles.to_vec(), replacements.to_vec());
    tokio::task::spawn_blocking(move || {
        loop {
            let mut held = shared.blocking_lock();
            let Some(place) = held.as_mut() else { return };
            match place.scanner.complete(SLICE) {
                Ok(0) => {
                    let vocabulary = place.scanner.vocabulary(&titles);
                    if vocabulary != place.words.vocabulary {
                        place.words = Arc::new(Words::new(vocabulary, &replacements));
                    }
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a vocabulary cannot be kept");
                    return;
                }
            }
        }
    });
}
