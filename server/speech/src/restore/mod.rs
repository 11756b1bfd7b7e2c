//! Identifiers that were spoken in words, written as code again.
//!
//! A transcriber writes "use effect" for `useEffect` and "fast defy instance" for `FastifyInstance`. [`Lexicon::restore`] looks for
//! runs of words that have the letters of a name, or sound like one; weighs for each whether the name is meant or the words are
//! ordinary ones that happen to be a name too (`addUser` in "add user to the group"); and takes the best of those that do not
//! overlap. Spoken signs ("dash dash verbose") and case commands ("camel case user name") become code without a name, too.

mod candidates;
mod choice;
mod class;
mod commands;
mod evidence;
mod misheard;
mod names;
mod numbers;
mod prose;
mod sound;
mod weights;
mod words;

#[cfg(test)]
mod tests;

use choice::Part;
use names::Names;
use words::{Word, words};

/// A text in which identifiers were restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub text: String,
    /// What was changed, in the order of the text.
    pub changes: Vec<Change>,
}

/// A place that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As it was.
    pub from: String,
    /// As it is now.
    pub to: String,
    /// Where it begins in the restored text, in bytes.
    pub at: usize,
}

/// The names of a repository and a user's own replacements, ready to be found in texts.
#[derive(Debug, Default)]
pub struct Lexicon {
    names: Names,
    replacements: Vec<(Vec<Word>, String)>,
}

impl Lexicon {
    /// `names`: identifiers, paths, dependencies and branches, the most useful first. `replacements`: what is heard and what is to be
    /// written for it; whole words, in any case.
    pub fn new(names: &[String], replacements: &[(String, String)]) -> Self {
        let mut replacements: Vec<_> = replacements
            .iter()
            .map(|(heard, written)| (words(heard), written.clone()))
            .filter(|(heard, _)| !heard.is_empty())
            .collect();
        // The longest first; of the same ones the first, as it was given.
        replacements.sort_by_key(|(heard, _)| std::cmp::Reverse(heard.len()));
        Self { names: Names::new(names), replacements }
    }

    /// Restores the identifiers of a text. What it does not change it leaves as it is, byte for byte.
    pub fn restore(&self, text: &str) -> Restored {
        let words = words(text);
        let mut parts = self.replaced(&words);
        parts.extend(commands::parts(text, &words, &self.names));
        parts.extend(choice::parts(&words, &self.names));
        let parts = commands::joined(&words, choice::best(parts, words.len()), &self.names);
        let mut restored = Restored { text: String::with_capacity(text.len()), changes: Vec::new() };
        let mut done = 0;
        for part in parts {
            let (Some(first), Some(last)) = (words.get(part.from), words.get(part.to.wrapping_sub(1))) else {
                continue;
            };
            let (Some(between), Some(from)) = (text.get(done..first.at.start), text.get(first.at.start..last.at.end))
            else {
                continue;
            };
            restored.text.push_str(between);
            if from != part.text {
                restored.changes.push(Change { from: from.to_owned(), to: part.text.clone(), at: restored.text.len() });
            }
            restored.text.push_str(&part.text);
            done = last.at.end;
        }
        restored.text.push_str(text.get(done..).unwrap_or_default());
        restored
    }

    /// Where the user's own replacements apply.
    fn replaced(&self, words: &[Word]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut from = 0;
        while from < words.len() {
            let here = self.replacements.iter().find(|(heard, _)| {
                words[from..].len() >= heard.len()
                    && words[from..].iter().zip(heard).all(|(word, heard)| word.lower == heard.lower)
                    && words[from + 1..from + heard.len()].iter().all(|word| word.joins)
            });
            let taken = here.map_or(1, |(heard, _)| heard.len());
            if let Some((_, written)) = here {
                parts.push(Part { from, to: from + taken, text: written.clone(), score: Part::CERTAIN });
            }
            from += taken;
        }
        parts
    }
}
