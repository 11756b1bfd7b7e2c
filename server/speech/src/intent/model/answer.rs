//! What of a model's answer is believed.

use cadence_protocol::{Entities, Intent, VoiceCommand, short_id};
use uuid::Uuid;

use super::super::resolve::{Meant, Resolver, is_eligible};
use super::super::tokens::tokens;
use super::super::{AMBIGUOUS, Context, EXACT, NONE, SEVERAL, entities, read};
use super::wire::{self, Answer};

/// Most tasks that an answer may name.
const MOST: usize = 20;
/// As sure as a model may be: what destroys work is confirmed by a person, whatever text talked the model into it.
const MOST_SURE: f64 = EXACT - 0.05;

/// Turns an answer into a command, or says why it is none. Names of tasks, repositories, branches and models must be among those
/// given or in the text; what is handed on as somebody's words are their words.
pub(super) fn check(answer: Answer, grammar: &VoiceCommand, context: &Context<'_>) -> Result<VoiceCommand, String> {
    let intent = Intent::ALL.into_iter().find(|intent| intent.as_str() == answer.intent);
    let intent = intent.ok_or_else(|| format!("it names no intent ({:?})", shown(&answer.intent)))?;
    let confidence = answer.confidence.filter(|confidence| confidence.is_finite());
    let confidence = confidence.ok_or("it does not say how sure it is")?.clamp(0.0, MOST_SURE);
    let tasks = known(&answer.tasks, context)?;
    let text = grammar.transcript.as_str();
    let mut command =
        VoiceCommand { intent, entities: Entities::default(), candidates: Vec::new(), confidence, ..grammar.clone() };
    match intent {
        Intent::CreateAgent => {
            command.entities.task_description = Some(cut(text, answer.task_description.as_deref()));
            place(&mut command.entities, &answer, text, context)?;
            return Ok(command);
        }
        Intent::Unknown | Intent::ListAgents => return Ok(command),
        Intent::SendMessage => command.entities.message = Some(cut(text, answer.message.as_deref())),
        _ => {}
    }
    let meant = meant(&tasks, answer.each, intent, context);
    command.confidence = confidence.min(meant.confidence);
    command.entities.agent_id = meant.agent;
    command.candidates = meant.candidates;
    Ok(command)
}

/// The ids that short ids stand for.
fn known(short: &[String], context: &Context<'_>) -> Result<Vec<Uuid>, String> {
    if short.len() > MOST {
        return Err("it names too many tasks".to_owned());
    }
    let mut ids = Vec::new();
    for short in short {
        let wanted = short.trim().to_ascii_lowercase();
        let mut fits = context
            .tasks
            .iter()
            .filter(|task| !wanted.is_empty() && (short_id(task.id) == wanted || task.id.to_string() == wanted));
        match (fits.next(), fits.next()) {
            (Some(task), None) if ids.contains(&task.id) => {}
            (Some(task), None) => ids.push(task.id),
            _ => return Err(format!("it names a task that is not there ({:?})", shown(short))),
        }
    }
    Ok(ids)
}

fn meant(tasks: &[Uuid], each: bool, intent: Intent, context: &Context<'_>) -> Meant {
    // All of them is no task at all.
    let all = intent == Intent::CheckStatus && (tasks.is_empty() || each);
    if all {
        return Meant { confidence: 1.0, ..Meant::default() };
    }
    if tasks.is_empty() {
        return Resolver::new(context).unnamed(intent);
    }
    let can = |id: &Uuid| context.tasks.iter().any(|task| task.id == *id && is_eligible(task, intent));
    let able: Vec<Uuid> = tasks.iter().copied().filter(can).collect();
    match able[..] {
        [] => Meant { confidence: NONE, ..Meant::default() },
        [only] => Meant { agent: Some(only), confidence: 1.0, ..Meant::default() },
        _ => Meant { candidates: able, confidence: if each { SEVERAL } else { AMBIGUOUS }, ..Meant::default() },
    }
}

/// Somebody's words: those that the model took, if they are in the text as they stand, else all but the openers.
fn cut(text: &str, taken: Option<&str>) -> String {
    let taken = taken.map(str::trim).filter(|taken| !taken.is_empty() && text.contains(taken));
    let words = tokens(text);
    let whole = || words.get(read::opener(&words)).map_or(text, |first| &text[first.outer.start..]);
    taken.unwrap_or_else(whole).trim().to_owned()
}

fn place(entities: &mut Entities, answer: &Answer, text: &str, context: &Context<'_>) -> Result<(), String> {
    entities::fill(entities, text, &tokens(text), context);
    if let Some(url) = answer.repository.as_deref().map(str::trim).filter(|url| !url.is_empty()) {
        if !wire::repositories(context).contains(&url) {
            return Err(format!("it names a repository that is not there ({:?})", shown(url)));
        }
        entities.repo_url = Some(url.to_owned());
    }
    if let Some(branch) =
        answer.branch.as_deref().filter(|branch| text.contains(*branch) && entities::is_branch(branch))
    {
        entities.branch = Some(branch.to_owned());
    }
    let lower = text.to_lowercase();
    let named = |model: &&str| !model.is_empty() && model.len() <= 64 && lower.contains(&model.to_lowercase());
    if let Some(model) = answer.model.as_deref().map(str::trim).filter(named) {
        entities.model = Some(model.to_lowercase());
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
