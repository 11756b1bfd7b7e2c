//! What is no command: work for a new agent, a word to the one that is at work, or nothing.

use cadence_protocol::{Entities, Intent};

use super::frames::GRAMMAR;
use super::read::Reading;
use super::resolve::Resolver;
use super::tokens::Token;
use super::{Context, entities, lexicon};

/// Words that are looked through for what they tell; a task that has not begun by then is none.
const MOST_WORDS: usize = 200;

/// Reads what the openers left.
pub(super) fn read(text: &str, body: &[Token], context: &Context<'_>, resolver: &Resolver<'_>) -> Reading {
    if let Some(rest) = GRAMMAR.asks_for_task(&body[..body.len().min(MOST_WORDS)]) {
        return task(text, &body[rest + super::read::opener(&body[rest..])..], body, context, 0.93);
    }
    // "Yes, fix the flaky test" wants the test fixed; "no, use postgres" answers somebody.
    let answer = body.iter().take_while(|token| is_answer(&token.word)).count();
    let follows =
        answer > 0 && (body[answer - 1].stop || body.get(answer).is_some_and(|token| lexicon::is_verb(&token.word)));
    let answer = if follows { answer } else { 0 };
    let after = &body[answer..];
    let after = &after[super::read::opener(after)..];
    let addition =
        after.iter().take_while(|token| matches!(token.word.as_str(), "also" | "additionally" | "plus")).count();
    let core = &after[addition.min(after.len())..];
    let core = &core[super::read::opener(core)..];
    if core.is_empty() {
        return Reading::new(Intent::Unknown, 0.15);
    }
    let work = confidence(text, core, resolver);
    let follow = follow_up(core, answer > 0, addition > 0, work, resolver);
    if let Some((most, points)) = follow
        && let Some(reading) = message(text, body, most, resolver)
        && (points || resolver.evident().is_some())
    {
        return reading;
    }
    let work = if answer > 0 { work.min(0.75) } else { work };
    if work < 0.4 {
        return Reading::new(Intent::Unknown, 0.2);
    }
    task(text, core, body, context, work)
}

fn is_answer(word: &str) -> bool {
    matches!(word, "yes" | "yeah" | "yep" | "yup" | "no" | "nope" | "nah" | "sure")
}

fn task(text: &str, core: &[Token], body: &[Token], context: &Context<'_>, confidence: f64) -> Reading {
    let Some(first) = core.first() else {
        // An agent without work: which, is still to be said.
        return Reading::new(Intent::CreateAgent, 0.4);
    };
    let description = text.get(first.outer.start..).unwrap_or_default().trim().to_owned();
    let mut entities = Entities { task_description: Some(description), ..Entities::default() };
    entities::fill(&mut entities, text, &body[..body.len().min(MOST_WORDS)], context);
    Reading { entities, ..Reading::new(Intent::CreateAgent, confidence) }
}

fn message(text: &str, body: &[Token], most: f64, resolver: &Resolver<'_>) -> Option<Reading> {
    let meant = resolver.unnamed(Intent::SendMessage);
    if meant.agent.is_none() && meant.candidates.is_empty() {
        return None;
    }
    let mut reading = Reading::about(Intent::SendMessage, meant, most);
    let message = text.get(body.first()?.outer.start..).unwrap_or_default().trim();
    reading.entities.message = Some(message.to_owned());
    Some(reading)
}

/// How sure it is that words go on with work that is under way, and whether they point at it ("it"); none if nothing says so.
fn follow_up(core: &[Token], answer: bool, addition: bool, work: f64, resolver: &Resolver<'_>) -> Option<(f64, bool)> {
    if !resolver.lives() && resolver.evident().is_none() {
        return None;
    }
    let word = |at: usize| core.get(at).map(|token| token.word.as_str()).unwrap_or_default();
    let last = core.last().map(|token| token.word.as_str()).unwrap_or_default();
    let verb =
        lexicon::is_verb(word(0)) || matches!(word(0), "do" | "don't" | "remember" | "forget" | "never" | "leave");
    let short = core.len() <= 14;
    // "make it so that the page …" points at nothing before.
    let idiom =
        word(1) == "it" && matches!(word(2), "so" | "possible" | "easy" | "easier" | "clear" | "impossible" | "look");
    let object = matches!(word(1), "it" | "that" | "this" | "them" | "those" | "these" | "its") && !idiom;
    // "that" and "this" may be articles: "fix that bug" is new work, "fix that" is not.
    let article = matches!(word(1), "that" | "this" | "those" | "these" | "its")
        && core.len() > 2
        && lexicon::is_technical(&core[2]);
    let subject =
        matches!(word(0), "it" | "that" | "this" | "they") && core.len() > 2 && lexicon::is_problem_verb(word(1));
    let back = core.len() > 2
        && core.len() <= 8
        && matches!(last, "it" | "that" | "them" | "this" | "too" | "instead" | "well" | "again" | "there" | "either");
    let forbids = word(0) == "do" && word(1) == "not"
        || word(0) == "never"
        || matches!((word(0), word(1)), ("don't", _) | ("remember", "to") | ("do", "not"));
    match () {
        () if object && !article && verb && short => Some((0.85, true)),
        () if subject && short => Some((0.8, true)),
        () if addition && back => Some((0.85, true)),
        () if back && verb && last == "it" && core.len() <= 6 => Some((0.82, true)),
        () if back && verb && (last == "instead" || last == "too" || last == "well" || last == "there") => {
            Some((0.82, true))
        }
        () if back && verb => Some((0.7, false)),
        () if forbids && core.len() > 2 && short => {
            // What may not be done to an agent is nothing that it is told.
            let control = matches!(word(2), "stop" | "pause" | "cancel" | "kill" | "resume" | "approve");
            (!control).then_some((0.8, false))
        }
        () if addition => Some((if work >= 0.4 { 0.82 } else { 0.55 }, false)),
        () if answer && work >= 0.4 && resolver.waits() => Some((0.6, false)),
        () => None,
    }
}

/// How sure it is that the words are work.
fn confidence(text: &str, core: &[Token], resolver: &Resolver<'_>) -> f64 {
    let core = &core[..core.len().min(MOST_WORDS)];
    let first = core[0].word.as_str();
    let technical = |token: &Token| {
        lexicon::is_technical(token)
            || token.quoted && !token.word.is_empty()
            || text.get(token.inner.clone()).is_some_and(lexicon::is_camel)
            || resolver.knows(&token.word)
    };
    let things = core.iter().filter(|token| technical(token)).count();
    let after = core.iter().skip(1).filter(|token| technical(token)).count();
    let others = core.iter().skip(1).filter(|token| !lexicon::is_plain(&token.word)).count();
    let wrong = core.iter().skip(1).any(|token| lexicon::is_problem(&token.word));
    let negated = core.iter().skip(1).any(|token| token.word == "not");
    let pointing = core.len() == 2 && matches!(core[1].word.as_str(), "it" | "that" | "this" | "them");
    // A verb that is followed by a subject's verb was a noun: "list endpoint needs paging".
    let two = core.len() > 2
        && matches!(
            (first, core[1].word.as_str()),
            ("fine", "tune") | ("hot", "fix") | ("stress", "test") | ("unit", "test") | ("be", "able")
        );
    if lexicon::is_work(first) && core.len() > 1 || two {
        return match (pointing, others, things) {
            _ if (wrong || negated) && others > 1 => 0.86,
            (true, ..) => 0.45,
            (_, 0, _) => 0.3,
            (_, 1, 0) if is_command_verb(first) => 0.3,
            (_, _, 0) if is_command_verb(first) => 0.55,
            (_, 1, 0) if core.len() == 2 => 0.65,
            _ => 0.9,
        };
    }
    if lexicon::is_soft(first) && core.len() > 2 && after > 0 {
        return if after > 1 || core.len() > 4 { 0.88 } else { 0.82 };
    }
    // "List of countries is outdated": a noun after all.
    let noun = things > 0 && (wrong || negated) && others > 1;
    if lexicon::is_soft(first) && core.len() > 1 && !noun {
        return match (pointing, others) {
            (true, _) | (_, 0) => 0.3,
            _ if after > 0 => 0.75,
            // "make the whole thing faster", but not "play some music".
            _ if matches!(first, "make" | "work" | "change" | "check" | "show" | "list" | "look") && others > 2 => 0.6,
            _ => 0.3,
        };
    }
    if matches!(first, "there" | "here") && things > 0 && (wrong || core.len() > 4) {
        return 0.82;
    }
    if lexicon::begins_question(first)
        && !(wrong && core.iter().any(|token| token.stop && lexicon::is_verb(&token.word)))
    {
        let private = core.iter().any(|token| matches!(token.word.as_str(), "i" | "my" | "your"));
        let asks = !private
            && matches!(first, "why" | "how" | "what" | "where" | "which" | "is" | "does" | "are" | "do" | "can");
        return if asks && things > 0 && core.len() > 3 { 0.62 } else { 0.2 };
    }
    let orders = core.windows(2).any(|pair| {
        (pair[0].stop || matches!(pair[0].word.as_str(), "and" | "then" | "please" | "to" | "so"))
            && lexicon::is_work(&pair[1].word)
    });
    if things > 0 && (wrong || negated) {
        return if things > 1 || orders || core.len() > 5 { 0.85 } else { 0.8 };
    }
    if orders && (things > 0 || wrong) {
        return 0.82;
    }
    let wish = matches!(first, "i" | "we" | "users" | "people" | "nobody" | "someone" | "everybody" | "customers");
    match (things, core.len()) {
        (2.., 4..) if !wish => 0.7,
        (2.., 3..) => 0.6,
        (1, 4..)
            if !wish && core.iter().any(|token| matches!(token.word.as_str(), "for" | "in" | "to" | "on" | "of")) =>
        {
            0.55
        }
        _ if wrong && orders => 0.5,
        _ => 0.2,
    }
}

/// A verb that is also one of commands, and so says less of work than others.
fn is_command_verb(word: &str) -> bool {
    matches!(
        word,
        "stop"
            | "pause"
            | "resume"
            | "cancel"
            | "abort"
            | "terminate"
            | "halt"
            | "kill"
            | "approve"
            | "deny"
            | "reject"
            | "suspend"
            | "restart"
            | "try"
            | "drop"
            | "discard"
            | "ditch"
            | "pausing"
            | "stopping"
            | "block"
            | "report"
            | "skip"
    )
}
