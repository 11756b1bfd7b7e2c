//! From a sentence to what it wants.
//!
//! A grammar answers control phrases at once and without a network: rules over words (`grammar.txt`), references that are
//! resolved against the tasks there are, and what is no command but reads like work is a new task. What the grammar is not sure
//! of may be asked of a language [`Model`].

mod counted;
mod entities;
mod frames;
mod index;
mod lexicon;
mod likeness;
mod model;
mod read;
mod reference;
mod resolve;
mod sound;
mod task;
#[cfg(test)]
mod tests;
mod tokens;

use std::time::Instant;

use cadence_protocol::{Intent, Task, VoiceCommand};
use time::OffsetDateTime;
use uuid::Uuid;

pub use model::{By, Dialect, Model, ModelError, Understood, understand};

/// What can be spoken of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Newest first. "Task two" and "the second one" are the second of them; "the newest one" is the first, "the last one" the
    /// last of those that it can be about (those that live, if any does).
    pub tasks: &'a [Task],
    /// The task that "it" means: selected, or last spoken of.
    pub current: Option<Uuid>,
    /// URLs of the repositories that a task may be for, beside those of the tasks.
    pub repositories: &'a [String],
}

/// Confidence from which a client acts without asking.
pub const SURE: f64 = 0.8;
/// Confidence from which even what destroys work is done without asking: every word is of the grammar, and the task is named
/// by its number, its id or words of its own.
pub const EXACT: f64 = 0.95;
/// Confidence of a command that means each of its candidates: "pause everything".
pub const SEVERAL: f64 = 0.7;
/// Confidence of a command that means one of its candidates.
const AMBIGUOUS: f64 = 0.55;
/// Confidence of a command for which there is no task.
const NONE: f64 = 0.4;

/// Longest text that is looked at, in bytes; what is over is cut from what an agent is told, too.
pub const LONGEST: usize = 32 * 1024;

/// What a sentence wants. Pure but for the clock and the id.
///
/// `text` is the transcript with its identifiers restored, `raw` as it came.
///
/// **What is kept.** `taskDescription` and `message` are cut out of `text` and never rewritten: only openers go ("um, hey cadence,
/// could you please fix X" gives "fix X"), with the words that ask for a task as such ("start a new agent to fix X"). "On branch X",
/// "with opus", "in the billing repo" become entities and stay in the description as well, since an agent may need them to make
/// sense of the rest.
///
/// **Confidence.**
/// | from | means |
/// |---|---|
/// | [`EXACT`] 0.95 | nothing was guessed |
/// | [`SURE`] 0.8 | the intent is clear, and one task by its name, its sound or because there is no other |
/// | [`SEVERAL`] 0.7 | clear, but about each of `candidates`; or a likely task that nobody named clearly |
/// | 0.5 | one of `candidates`, the likeliest first; or a command that reads like a task |
/// | below | no task is called so, or not understood; `candidates` is empty |
pub fn parse(text: &str, raw: &str, context: &Context<'_>) -> VoiceCommand {
    interpret(text, raw, context).0
}

/// As [`parse`], with whether there is nothing more to find out: a model need not be asked what "thank you" wants.
fn interpret(text: &str, raw: &str, context: &Context<'_>) -> (VoiceCommand, bool) {
    let began = Instant::now();
    let (text, raw) = (bounded(text), bounded(raw));
    let resolver = resolve::Resolver::new(context);
    let mut reading = read::read(text, context, &resolver);
    // A repository's names can swallow a command ("stop_all"); the words as they came show it.
    if raw != text && !raw.trim().is_empty() && matches!(reading.intent, Intent::CreateAgent | Intent::Unknown) {
        let heard = read::read(raw, context, &resolver);
        let speaks = matches!(heard.intent, Intent::CreateAgent | Intent::Unknown | Intent::SendMessage);
        if !speaks && heard.confidence >= SURE {
            reading = heard;
        }
    }
    let settled = reading.settled;
    let command = VoiceCommand {
        id: Uuid::new_v4(),
        transcript: text.to_owned(),
        raw_transcript: raw.to_owned(),
        intent: reading.intent,
        entities: reading.entities,
        confidence: reading.confidence,
        processing_time_ms: began.elapsed().as_secs_f64() * 1000.0,
        timestamp: OffsetDateTime::now_utc(),
        candidates: reading.candidates,
    };
    (command, settled)
}

/// Whether a client asks before it acts: nothing was understood, it is not sure, or work would be destroyed ("stop", "deny") and
/// it is not beyond doubt.
pub fn needs_confirmation(command: &VoiceCommand) -> bool {
    let least = match command.intent {
        Intent::Unknown => return true,
        Intent::StopAgent | Intent::Deny => EXACT,
        _ => SURE,
    };
    // A confidence that is no number is below all.
    !command.candidates.is_empty() || command.confidence.is_nan() || command.confidence < least
}

/// Whether a command is about each of its candidates ("pause everything"), and not about one of them.
pub fn means_each(command: &VoiceCommand) -> bool {
    !command.candidates.is_empty() && command.confidence >= SEVERAL
}

fn bounded(text: &str) -> &str {
    match text.len() <= LONGEST {
        true => text,
        false => &text[..text.floor_char_boundary(LONGEST)],
    }
}
