//! Speaking in the dashboard: the conversation of `cadence voice`, over everything else.

use std::time::Duration;

use cadence_protocol::Intent;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use time::OffsetDateTime;

use super::super::message::{Effect, Failure};
use super::super::state::{Overlay, State};
use super::{act, complain, say};
use crate::speech;
use crate::talk::session::{self, Manner, Session};
use crate::voice::{Action, Key, KeyKind, Talk};

/// Begins to listen.
pub fn open(state: &mut State) -> Vec<Effect> {
    if !state.voice_is_there {
        let error = "this program was built without a microphone".to_owned();
        return complain(state, Failure { error, hints: Vec::new(), gone: false });
    }
    let mut session = Session::new(Manner { yes: false, once: true, continuous: false });
    let effects = session.listen();
    state.push = Talk::new(state.releases);
    let since = Duration::try_from(state.now - OffsetDateTime::UNIX_EPOCH).unwrap_or_default();
    state.push.key(Key::Space, KeyKind::Press, since);
    state.overlay = Some(Overlay::Voice(Box::new(session)));
    perform(state, effects)
}

/// Space and Enter end a recording; letting Space go ends it where the terminal tells.
pub fn key(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    let since = Duration::try_from(state.now - OffsetDateTime::UNIX_EPOCH).unwrap_or_default();
    let Some(Overlay::Voice(session)) = &mut state.overlay else { return Vec::new() };
    let listens = matches!(session.state, session::State::Listening(_));
    // The key that began it is as good as Space.
    let as_space = KeyEvent { code: if key.code == KeyCode::Char('v') { KeyCode::Char(' ') } else { key.code }, ..key };
    let effects = match Key::of(&as_space).filter(|_| listens) {
        Some((name, kind)) => match state.push.key(name, kind, since) {
            Some(Action::Stop) => session.finish(),
            Some(Action::Cancel) => session.update(session::Message::Key(key)),
            Some(Action::Start) | None => Vec::new(),
        },
        None if key.kind == KeyEventKind::Release => Vec::new(),
        None => session.update(session::Message::Key(key)),
    };
    perform(state, effects)
}

pub fn paste(state: &mut State, text: &str) -> Vec<Effect> {
    message(state, session::Message::Paste(text.to_owned()))
}

/// Something that the conversation waits for.
pub fn message(state: &mut State, message: session::Message) -> Vec<Effect> {
    let Some(Overlay::Voice(session)) = &mut state.overlay else { return Vec::new() };
    if matches!(message, session::Message::Ended | session::Message::Heard(..) | session::Message::Failed(_)) {
        state.push.ended();
    }
    let effects = session.update(message);
    perform(state, effects)
}

fn perform(state: &mut State, effects: Vec<session::Effect>) -> Vec<Effect> {
    let mut out = Vec::new();
    for effect in effects {
        match effect {
            // "Show me the auth one": shown here, not told.
            session::Effect::Do(command)
                if command.intent == Intent::CheckStatus && command.entities.agent_id.is_some() =>
            {
                state.overlay = None;
                if let Some(id) = command.entities.agent_id {
                    out.extend(act::show_task(state, id));
                }
            }
            session::Effect::Tell(answer) => {
                state.overlay = None;
                let sentence = speech::sentence(&answer, true);
                if let Some(task) = &answer.task {
                    state.watch.begun(task);
                    state.list.put(task.clone(), state.now);
                    state.list.reveal(task.id);
                }
                out.push(Effect::Say(sentence.clone()));
                out.extend(say(state, sentence));
            }
            session::Effect::Complain(failed) => {
                // What can be changed stays to be changed.
                let Some(Overlay::Voice(session)) = &state.overlay else { continue };
                if !matches!(session.state, session::State::Review(_)) {
                    state.overlay = None;
                }
                let failure = Failure { error: failed.error, hints: failed.hints, gone: false };
                out.extend(complain(state, failure));
            }
            // Nothing is said any more, and nothing else would be done here.
            session::Effect::Dismissed | session::Effect::Quit | session::Effect::Drop => {
                state.overlay = None;
                out.push(Effect::Voice(session::Effect::Drop));
            }
            other => out.push(Effect::Voice(other)),
        }
    }
    out
}
