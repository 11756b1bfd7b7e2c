//! One reading out of many: the rules that fit, who they are about, and what is left if none does.

use std::ops::Range;

use cadence_protocol::{Entities, Intent};
use uuid::Uuid;

use super::counted;
use super::frames::{Act, GRAMMAR, Match, Scope};
use super::lexicon;
use super::reference::{self, Reference};
use super::resolve::{Meant, Resolver};
use super::tokens::{Token, tokens};
use super::{AMBIGUOUS, Context, NONE, SURE, task};

/// Words that the grammar looks at. A command is short; what is longer is a task, or the words of a message.
const MOST_WORDS: usize = 80;

/// Most openers that are taken off: nobody has more manners.
const MOST_OPENERS: usize = 16;

/// What a sentence was understood as.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub intent: Intent,
    pub entities: Entities,
    pub candidates: Vec<Uuid>,
    pub confidence: f64,
    /// There is nothing that a closer look would find.
    pub settled: bool,
    /// Its form alone makes it a command, whatever tasks there are.
    pub firm: bool,
}

impl Reading {
    pub(super) fn new(intent: Intent, confidence: f64) -> Self {
        Self { intent, entities: Entities::default(), candidates: Vec::new(), confidence, settled: false, firm: false }
    }

    pub(super) fn about(intent: Intent, meant: Meant, most: f64) -> Self {
        let entities = Entities { agent_id: meant.agent, ..Entities::default() };
        let confidence = meant.confidence.min(most);
        Self { candidates: meant.candidates, entities, ..Self::new(intent, confidence) }
    }
}

/// What the text wants.
pub(super) fn read(text: &str, context: &Context<'_>, resolver: &Resolver<'_>) -> Reading {
    let mut words = tokens(text);
    // Hesitation is no word; the text is cut by places, which stay.
    words.retain(|token| token.quoted || !lexicon::is_hesitation(&token.word));
    let opened = opener(&words);
    let body = &words[opened..];
    let said = Said { text, resolver };
    if words.is_empty() || is_talk(&words) || is_talk(body) {
        return Reading { settled: true, ..Reading::new(Intent::Unknown, 0.1) };
    }
    // An opener may be all that is said ("okay, go on"), so the whole sentence is read, too.
    let mut command = if body.is_empty() { None } else { said.command(body) };
    if opened > 0 && !command.as_ref().is_some_and(|reading| reading.firm) {
        command = better(command, said.command(&words));
    }
    // "Can you also pause it", "wait, stop it", "yeah, pause it".
    for from in [opened, 0] {
        let light = words[from..]
            .iter()
            .take_while(|token| {
                matches!(token.word.as_str(), "also" | "wait" | "yes" | "yeah" | "yep" | "no" | "nope" | "nah")
            })
            .count();
        let rest = &words[from + light..];
        let rest = &rest[opener(rest)..];
        if light > 0 && !rest.is_empty() && !command.as_ref().is_some_and(|reading| reading.firm) {
            command = better(
                command,
                said.command(rest).filter(|reading| reading.firm && reading.entities.message.is_none()),
            );
        }
    }
    if let Some(command) = &command
        && (command.firm || command.confidence >= AMBIGUOUS)
    {
        return command.clone();
    }
    if body.is_empty() {
        return command.unwrap_or(Reading { settled: true, ..Reading::new(Intent::Unknown, 0.1) });
    }
    if let Some(first) = said.first_of_two(body) {
        return first;
    }
    let task = task::read(text, body, context, resolver);
    match command {
        Some(command) if command.confidence > task.confidence => command,
        _ => task,
    }
}

/// How many words at the beginning are manners.
pub(super) fn opener(words: &[Token]) -> usize {
    let mut from = 0;
    for _ in 0..MOST_OPENERS {
        let left = &words[from..words.len().min(from + MOST_WORDS)];
        let opener = GRAMMAR.opener(left).max(usize::from(is_addressed(left)));
        if opener == 0 {
            break;
        }
        from += opener;
    }
    from
}

/// A word of hesitation, or the program's name where a request follows it and not what is wrong with the program.
fn is_addressed(words: &[Token]) -> bool {
    let [name, next, ..] = words else { return words.iter().any(|token| lexicon::is_own_name(&token.word)) };
    // "Can you like add a button", but not "like button is broken".
    if name.word == "like" {
        return lexicon::is_work(&next.word);
    }
    lexicon::is_own_name(&name.word)
        && (name.stop
            || GRAMMAR.opener(&words[1..]) > 0
            || lexicon::is_verb(&next.word)
            || lexicon::begins_question(&next.word)
            || !GRAMMAR.commands(closed(&words[1..])).is_empty())
}

fn is_talk(words: &[Token]) -> bool {
    words.len() <= 12 && (GRAMMAR.is_talk(words) || GRAMMAR.is_talk(closed(words)))
}

/// Without the manners at the end.
fn closed(words: &[Token]) -> &[Token] {
    let mut words = words;
    loop {
        let closer = GRAMMAR.closer(words);
        if closer == 0 || closer >= words.len() {
            return words;
        }
        words = &words[..words.len() - closer];
    }
}

fn better(a: Option<Reading>, b: Option<Reading>) -> Option<Reading> {
    match (a, b) {
        (Some(a), Some(b)) if (b.firm, b.confidence) > (a.firm, a.confidence) => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}

struct Said<'a, 'c> {
    text: &'a str,
    resolver: &'a Resolver<'c>,
}

impl Said<'_, '_> {
    /// The best command that the words are.
    fn command(&self, words: &[Token]) -> Option<Reading> {
        let words = &words[..words.len().min(MOST_WORDS)];
        let short = closed(words);
        let whole = if short.len() < words.len() { GRAMMAR.commands(words) } else { Vec::new() };
        let short_matches = GRAMMAR.commands(short);
        let readings = short_matches.iter().filter(|found| found.rest.is_none()).map(|found| (found, short));
        // What an agent is told keeps its "please".
        let told = if short.len() < words.len() { &whole } else { &short_matches };
        let readings = readings.chain(whole.iter().filter(|found| found.rest.is_none()).map(|found| (found, words)));
        let readings = readings.chain(told.iter().filter(|found| found.rest.is_some()).map(|found| (found, words)));
        readings
            .filter_map(|(found, words)| self.reading(found, words))
            .fold(None, |best: Option<Reading>, reading| better(best, Some(reading)))
    }

    fn reading(&self, found: &Match<'_>, words: &[Token]) -> Option<Reading> {
        let Act::Command(intent) = found.rule.act else { return None };
        let mut reading = match &found.target {
            Some(target) => self.targeted(found, words, target.clone(), intent)?,
            None => self.untargeted(found, words, intent),
        };
        if let Some(rest) = found.rest {
            let message = self.text.get(words.get(rest)?.outer.start..).unwrap_or_default().trim();
            reading.entities.message = Some(message.to_owned());
        }
        Some(reading)
    }

    fn untargeted(&self, found: &Match<'_>, words: &[Token], intent: Intent) -> Reading {
        let most = found.rule.most.min(0.97);
        let meant = match (intent, found.rule.scope) {
            (Intent::ListAgents, _) | (_, Scope::All) => Meant { confidence: 0.97, ..Meant::default() },
            (_, Scope::Loose) => {
                let evident = self.resolver.evident().filter(|_| words.iter().any(|token| token.word == "it"));
                Meant { agent: evident.map(|task| task.id), confidence: 0.97, ..Meant::default() }
            }
            (_, Scope::One) => self.resolver.unnamed(intent),
        };
        // "Yes" where nothing asks is a word like any other; "stop" is a command all the same.
        let firm = !matches!(intent, Intent::Approve | Intent::Deny | Intent::ResumeAgent) || meant.confidence > NONE;
        Reading { firm, ..Reading::about(intent, meant, most) }
    }

    fn targeted(&self, found: &Match<'_>, words: &[Token], target: Range<usize>, intent: Intent) -> Option<Reading> {
        let named = words.get(target)?;
        let rule = found.rule;
        // "And" goes on with who is spoken of.
        let goes_on =
            |at: usize| words.get(at).is_some_and(|token| matches!(token.word.as_str(), "and" | "or" | "plus"));
        if found.rest.is_some_and(goes_on) {
            return None;
        }
        // "The agent to" is no number where more follows: "tell the agent to use tabs".
        if found.rest.is_some()
            && named.len() > 1
            && named.last().is_some_and(|token| counted::is_misheard(&token.word))
        {
            return None;
        }
        let (reference, meant) = self.who(named, intent)?;
        let explicit = reference.is_explicit() || meant.known && matches!(reference, Reference::Id { .. });
        if rule.guarded && !explicit || rule.by_name && reference.is_pronoun() {
            return None;
        }
        // How everything is doing is one answer.
        let all = matches!(reference, Reference::All | Reference::AllBut(_));
        if matches!(intent, Intent::CheckStatus) && all {
            return Some(Reading { firm: true, ..Reading::new(intent, rule.most.min(0.95)) });
        }
        if explicit || meant.known {
            return Some(Reading { firm: explicit, ..Reading::about(intent, meant, rule.most) });
        }
        // A name that no task has: of an agent, or of something in the code.
        match &reference {
            Reference::Named(name) if name.bare && !name.doubtful && !named.iter().any(lexicon::is_technical) => {
                Some(Reading::about(intent, Meant { confidence: NONE, ..Meant::default() }, rule.most))
            }
            _ => None,
        }
    }

    /// Who is spoken of.
    fn who(&self, named: &[Token], intent: Intent) -> Option<(Reference, Meant)> {
        if let Some(several) = self.several(named, intent) {
            return Some(several);
        }
        if let Some(reference) = reference::read(named) {
            let meant = self.resolver.resolve(&reference, intent);
            // Letters that may be digits are a word unless a task begins with them.
            if let (Reference::Id { certain: false, .. }, false) = (&reference, meant.known) {
                let reference = reference::read_name(named)?;
                let meant = self.resolver.resolve(&reference, intent);
                return Some((reference, meant));
            }
            return Some((reference, meant));
        }
        None
    }

    fn several(&self, named: &[Token], intent: Intent) -> Option<(Reference, Meant)> {
        let each = reference::read_several(named)?;
        let meant = self.resolver.resolve(&each, intent);
        (meant.known || each.is_explicit()).then_some((each, meant))
    }

    /// Two commands in one sentence ("stop the auth one and fix the login page"): the first, and a question.
    fn first_of_two(&self, words: &[Token]) -> Option<Reading> {
        let words = &words[..words.len().min(MOST_WORDS)];
        // A verb alone names nobody: "pause and resume buttons".
        (2..words.len().saturating_sub(1)).find_map(|at| {
            let joint = matches!(words[at].word.as_str(), "and" | "then" | "but");
            if !joint && !words[at - 1].stop {
                return None;
            }
            let (first, second) = (&words[..at], &words[at + usize::from(joint)..]);
            let second = &second[opener(second)..];
            let follows =
                second.first().is_some_and(|token| lexicon::is_verb(&token.word)) || self.command(second).is_some();
            let reading = self.command(first)?;
            let sure = reading.firm && reading.confidence >= SURE && reading.intent != Intent::SendMessage;
            (sure && follows).then_some(Reading { confidence: 0.5, ..reading })
        })
    }
}
