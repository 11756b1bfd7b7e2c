//! What a task's text says of where and with what it is done.

use cadence_protocol::Entities;

use super::tokens::Token;
use super::{Context, lexicon};

/// Models and agents by the names people say. "Flash" or "pro" alone are anything.
const MODELS: [&str; 9] = ["opus", "sonnet", "haiku", "fable", "codex", "gemini", "claude", "gpt", "deepseek"];
/// Longest name that is taken, in bytes.
const LONGEST: usize = 200;

/// Fills branch, model and repository where the words leave no doubt.
pub(super) fn fill(entities: &mut Entities, text: &str, words: &[Token], context: &Context<'_>) {
    entities.branch = branch(text, words);
    entities.model = model(text, words);
    entities.repo_url = repository(words, context);
}

/// "On branch X", "on the branch X", "on the X branch".
fn branch(text: &str, words: &[Token]) -> Option<String> {
    let at = |at: usize| words.get(at).map(|token| token.word.as_str()).unwrap_or_default();
    (0..words.len()).find_map(|on| {
        if !matches!(at(on), "on" | "from" | "off" | "against" | "into" | "in" | "onto") || words[on].quoted {
            return None;
        }
        let article = usize::from(matches!(at(on + 1), "the" | "a" | "my" | "our"));
        let new = usize::from(matches!(at(on + 1 + article), "new"));
        let noun = on + 1 + article + new;
        if at(noun) == "branch" && !words[noun].stop {
            let called = usize::from(matches!(at(noun + 1), "called" | "named"));
            return name(text, words.get(noun + 1 + called)?);
        }
        // "On the main branch": the name stands before, and is one word.
        let after = on + 1 + article;
        (at(after + 1) == "branch"
            && !words[after].stop
            && !matches!(
                at(after),
                "new"
                    | "same"
                    | "other"
                    | "separate"
                    | "different"
                    | "current"
                    | "this"
                    | "that"
                    | "each"
                    | "every"
                    | "else"
                    | "a"
            ))
        .then(|| name(text, words.get(after)?))?
    })
}

/// What git takes as a branch, and is no word of the sentence.
fn name(text: &str, token: &Token) -> Option<String> {
    let name = text.get(token.inner.clone())?;
    (is_branch(name) && !lexicon::is_plain(&token.word)).then(|| name.to_owned())
}

/// Whether git takes it as a branch, and for no option.
pub(super) fn is_branch(name: &str) -> bool {
    name.len() <= LONGEST
        && name.contains(char::is_alphanumeric)
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.ends_with(".lock")
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && !name.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c))
}

/// "With opus", "using claude sonnet", "use codex to …": at the beginning or the end of the sentence or before a break, so that
/// "integrate with gemini embeddings" asks for no model.
fn model(text: &str, words: &[Token]) -> Option<String> {
    (0..words.len()).find_map(|at| {
        let by = words[at].word.as_str();
        if !matches!(by, "with" | "using" | "via" | "use" | "on" | "by" | "through") || words[at].quoted {
            return None;
        }
        let mut first = at + 1;
        while matches!(words.get(first)?.word.as_str(), "the" | "model" | "anthropic's" | "openai" | "a") {
            first += 1;
        }
        if words[first].quoted || !is_model(&words[first].word) {
            return None;
        }
        let mut last = first;
        while !words[last].stop
            && words.get(last + 1).is_some_and(|next| is_model(&next.word) || is_version(&next.word))
        {
            last += 1;
        }
        let noun = usize::from(!words[last].stop && words.get(last + 1).is_some_and(|next| next.word == "model"));
        let end = last + noun;
        let ends = words[end].stop
            || words.get(end + 1).is_none_or(|next| {
                matches!(next.word.as_str(), "and" | "please" | "thanks" | "for" | "to" | "on" | "then")
            });
        let directs = match by {
            "use" => {
                at == 0
                    || words[..at].iter().rev().take(1).any(|before| matches!(before.word.as_str(), "and" | "please"))
            }
            // "On opus" is no English but for models; "on the gemini branch" is.
            "on" | "by" | "through" => noun == 1 || !matches!(words[first].word.as_str(), "gemini" | "claude"),
            _ => true,
        };
        let follows = words.get(end + 1).map(|next| next.word.as_str());
        let doubtful = at > 0
            && matches!(follows, Some("to" | "for" | "on"))
            && !words[end].stop
            && noun == 0
            && matches!(words[first].word.as_str(), "gemini" | "claude" | "gpt" | "deepseek" | "codex");
        (ends && directs && !doubtful)
            .then(|| text.get(words[first].inner.start..words[last].inner.end).map(str::to_lowercase))?
    })
}

fn is_model(word: &str) -> bool {
    let stem = word.split(['-', '.']).next().unwrap_or(word);
    MODELS.contains(&stem) || matches!(word, "o3" | "o4" | "gpt4" | "gpt5" | "gpt-5")
}

fn is_version(word: &str) -> bool {
    let digits = word.trim_start_matches('v');
    !digits.is_empty() && digits.len() <= 4 && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// "In the billing repo", "for repository api", where exactly one repository is called so.
fn repository(words: &[Token], context: &Context<'_>) -> Option<String> {
    let known: Vec<&str> = context
        .repositories
        .iter()
        .map(String::as_str)
        .chain(context.tasks.iter().filter_map(|task| task.repo_url.as_deref()))
        .collect();
    let is_noun = |token: &Token| matches!(token.word.as_str(), "repo" | "repository" | "repository's");
    (0..words.len()).filter(|at| is_noun(&words[*at]) && !words[*at].quoted).find_map(|at| {
        let before = (1..=4.min(at)).map(|many| &words[at - many..at]);
        let after = (1..=4).filter_map(|many| words.get(at + 1..at + 1 + many));
        let after = after.filter(|_| at > 0 && matches!(words[at - 1].word.as_str(), "in" | "for" | "on" | "the"));
        let mut found: Vec<&str> = before
            .chain(after)
            .flat_map(|part| {
                let spoken: String = part.iter().flat_map(|token| crate::spoken(&token.word)).collect();
                known.iter().copied().filter(move |url| crate::spoken(short_name(url)).concat() == spoken)
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [only] => Some(only.to_owned()),
            _ => None,
        }
    })
}

fn short_name(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    url.rsplit(['/', ':']).next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::{Context, branch, model, repository};

    #[test]
    fn branches_are_named() {
        for (text, wanted) in [
            ("fix the login on branch feature/login", Some("feature/login")),
            ("on branch Develop fix the login", Some("Develop")),
            ("fix it on the release-2.1 branch please", Some("release-2.1")),
            ("add a test on the branch called fix_42.", Some("fix_42")),
            ("fix the button on each branch", None),
            ("fix the branch predictor", None),
            ("on branch the tests fail", None),
            ("work on a new branch", None),
            ("on branch --upload-pack=x do it", None),
        ] {
            assert_eq!(branch(text, &tokens(text)).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn models_are_named() {
        for (text, wanted) in [
            ("fix the flaky test with opus", Some("opus")),
            ("using Sonnet, add a login page", Some("sonnet")),
            ("use claude opus 4.5 to fix the parser", Some("claude opus 4.5")),
            ("add docs with codex and open a pull request", Some("codex")),
            ("fix the header using claude-haiku-4-5 please", Some("claude-haiku-4-5")),
            ("integrate with gemini embeddings", None),
            ("write a haiku generator", None),
            ("replace `with opus` in the readme", None),
            ("add support for opus audio files", None),
            ("decode audio with opus codecs", None),
        ] {
            assert_eq!(model(text, &tokens(text)).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn repositories_are_named() {
        let known = ["https://git.example/acme/user-service.git".to_owned(), "git@git.example:acme/api".to_owned()];
        let context = Context { repositories: &known, ..Context::default() };
        for (text, wanted) in [
            ("in the user service repo fix the test", Some(0)),
            ("fix the flaky test in repo api", Some(1)),
            ("fix the flaky test in the web repo", None),
            ("fix the api", None),
        ] {
            let found = repository(&tokens(text), &context);
            assert_eq!(found.as_ref(), wanted.map(|at: usize| &known[at]), "{text}");
        }
    }
}
