#![allow(clippy::unwrap_used)]

use cadence_protocol::Entities;
use serde_json::json;
use uuid::Uuid;

use super::super::view::{Look, lines};
use super::*;
use crate::render::plain;

fn task(number: u128, title: &str) -> Task {
    serde_json::from_value(json!({
        "id": Uuid::from_u128(number << 96), "userId": Uuid::nil(), "taskDescription": title, "repoName": "demo",
        "branch": "b", "baseBranch": "main", "status": "running", "progress": 0, "model": "", "agent": "demo",
        "source": "CLI", "executor": "local", "permissionMode": "edits", "attempt": 1, "lastSeq": 1,
        "createdAt": "2026-01-01T10:00:00Z", "updatedAt": "2026-01-01T10:00:00Z"
    }))
    .unwrap()
}

fn tasks() -> Vec<Task> {
    vec![task(1, "Fix the dates"), task(2, "Fix the numbers")]
}

/// What was understood of a sentence about tasks that may be meant.
fn parsed(text: &str, intent: Intent, candidates: &[usize], needs_confirmation: bool) -> Parsed {
    let tasks = tasks();
    let ids: Vec<Uuid> = candidates.iter().map(|number| tasks[*number].id).collect();
    let entities = Entities {
        agent_id: if let [one] = ids[..] { Some(one) } else { None },
        task_description: (intent == Intent::CreateAgent).then(|| text.to_owned()),
        ..Entities::default()
    };
    let command = VoiceCommand {
        id: Uuid::nil(),
        transcript: text.to_owned(),
        raw_transcript: text.to_owned(),
        intent,
        entities,
        confidence: if needs_confirmation { 0.5 } else { 0.96 },
        processing_time_ms: 0.1,
        timestamp: cadence_protocol::Timestamp::UNIX_EPOCH,
        candidates: if ids.len() > 1 { ids } else { Vec::new() },
    };
    Parsed { command, needs_confirmation, note: None }
}

fn heard(text: &str) -> Box<Transcription> {
    Box::new(Transcription {
        text: text.into(),
        raw_text: text.into(),
        duration: 1.0,
        language: "en".into(),
        segments: Vec::new(),
        engine: "openai".into(),
        model: None,
    })
}

/// A conversation in which this was heard.
fn after(manner: Manner, parsed: Parsed) -> (Session, Vec<Effect>) {
    let mut session = Session::new(manner);
    assert_eq!(session.listen(), [Effect::Record]);
    assert_eq!(session.finish(), [Effect::Finish]);
    let text = parsed.command.transcript.clone();
    let effects = session.update(Message::Heard(heard(&text), Box::new(parsed), tasks()));
    (session, effects)
}

fn press(session: &mut Session, code: KeyCode) -> Vec<Effect> {
    session.update(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn done(effects: &[Effect]) -> &VoiceCommand {
    match effects {
        [Effect::Do(command)] => command,
        other => panic!("nothing is done: {other:?}"),
    }
}

fn screen(session: &Session) -> String {
    plain(&lines(&session.state, Look { hold: false, frame: 0 }))
}

#[test]
fn what_was_understood_goes_with_enter() {
    let (mut session, effects) = after(Manner::default(), parsed("fix it all", Intent::CreateAgent, &[], false));
    assert!(effects.is_empty(), "it waits for a person: {effects:?}");
    insta::assert_snapshot!(screen(&session), @r"
    › fix it all
      new task  fix it all
    Enter does it · Esc drops it · or change the words
    ");
    let effects = press(&mut session, KeyCode::Enter);
    assert_eq!(done(&effects).intent, Intent::CreateAgent);
    assert!(matches!(session.state, State::Doing));
}

#[test]
fn changed_words_are_read_again_before_they_go() {
    let (mut session, _) = after(Manner::default(), parsed("fix it", Intent::CreateAgent, &[], false));
    for letter in " now".chars() {
        assert!(press(&mut session, KeyCode::Char(letter)).is_empty());
    }
    assert_eq!(press(&mut session, KeyCode::Enter), [Effect::Read("fix it now".into())]);
    // They are not lost where they cannot be read.
    let failed = Failed { error: "the server is away".into(), hints: Vec::new() };
    assert_eq!(session.update(Message::Failed(failed.clone())), [Effect::Complain(failed)]);
    assert_eq!(press(&mut session, KeyCode::Enter), [Effect::Read("fix it now".into())]);
    let read = parsed("fix it now", Intent::CreateAgent, &[], false);
    assert!(session.update(Message::Read(Box::new(read), tasks())).is_empty());
    assert_eq!(done(&press(&mut session, KeyCode::Enter)).transcript, "fix it now");
}

#[test]
fn one_of_several_is_chosen_by_its_number() {
    let (mut session, _) = after(Manner::default(), parsed("pause the fix", Intent::PauseAgent, &[0, 1], true));
    assert!(press(&mut session, KeyCode::Enter).is_empty());
    insta::assert_snapshot!(screen(&session), @r"
    › pause the fix
      pause  one of 2 tasks
        1 00000001 Fix the dates
        2 00000002 Fix the numbers
    ? Which one? its number, n
    ");
    assert!(press(&mut session, KeyCode::Char('7')).is_empty());
    let effects = press(&mut session, KeyCode::Char('2'));
    assert_eq!(done(&effects).entities.agent_id, Some(tasks()[1].id));
}

#[test]
fn work_that_would_be_lost_is_asked_for() {
    let stop = || parsed("stop it", Intent::StopAgent, &[0], true);
    let (mut session, _) = after(Manner::default(), stop());
    assert!(press(&mut session, KeyCode::Enter).is_empty());
    assert!(screen(&session).contains("Really? y, n"));
    assert!(press(&mut session, KeyCode::Char('n')).is_empty());
    assert!(matches!(session.state, State::Review(_)));
    press(&mut session, KeyCode::Enter);
    assert_eq!(done(&press(&mut session, KeyCode::Char('y'))).intent, Intent::StopAgent);
    // Unless it was said beforehand that it need not be.
    let (_, effects) = after(Manner { yes: true, ..Manner::default() }, stop());
    assert_eq!(done(&effects).intent, Intent::StopAgent);
}

#[test]
fn what_is_not_understood_never_goes() {
    for manner in [Manner::default(), Manner { yes: true, ..Manner::default() }] {
        let (mut session, effects) = after(manner, parsed("hmm", Intent::Unknown, &[], true));
        assert!(effects.is_empty());
        assert!(matches!(&press(&mut session, KeyCode::Enter)[..], [Effect::Complain(_)]));
        assert_eq!(press(&mut session, KeyCode::Esc), [Effect::Dismissed]);
    }
}

#[test]
fn one_sentence_or_one_after_another() {
    let said = || parsed("fix it all", Intent::CreateAgent, &[], false);
    let (mut session, _) = after(Manner { once: true, ..Manner::default() }, said());
    assert_eq!(press(&mut session, KeyCode::Esc), [Effect::Dismissed, Effect::Quit]);
    let (mut session, _) = after(Manner { continuous: true, ..Manner::default() }, said());
    assert_eq!(press(&mut session, KeyCode::Esc), [Effect::Dismissed, Effect::Record]);
    assert!(matches!(session.state, State::Listening(_)));
    // Escape drops the recording, and Ctrl-C leaves as well.
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(session.update(Message::Key(control_c)), [Effect::Drop, Effect::Quit]);
}

#[test]
fn a_recording_shows_how_loud_it_is_and_what_is_heard() {
    let mut session = Session::new(Manner::default());
    session.listen();
    for level in 0..40 {
        session.update(Message::Level(level as f32 / 40.0, false, 1.25));
    }
    session.update(Message::Interim("fix the\u{1b}[31m flaky".into()));
    insta::assert_snapshot!(screen(&session), @r"
    ● ▄▄▄▄▅▅▅▅▅▆▆▆▆▆▇▇▇▇▇█████ 1.2 s · Space ends
      fix the flaky
    ");
    session.update(Message::Level(3.0, true, 1.3));
    assert!(screen(&session).contains("too loud"));
}

#[test]
fn a_question_that_is_clear_is_answered_at_once() {
    for (intent, about) in [(Intent::CheckStatus, &[0][..]), (Intent::CheckStatus, &[]), (Intent::ListAgents, &[])] {
        let (session, effects) = after(Manner::default(), parsed("how is it going", intent, about, false));
        assert_eq!(done(&effects).intent, intent);
        assert!(matches!(session.state, State::Doing));
    }
    // Where it may be about another task, or may be no question, somebody looks at it.
    let (_, effects) = after(Manner::default(), parsed("how is the fix", Intent::CheckStatus, &[0, 1], true));
    assert!(effects.is_empty(), "{effects:?}");
    let (_, effects) = after(Manner::default(), parsed("pause it", Intent::PauseAgent, &[0], false));
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn news_wait_for_whoever_speaks_and_not_for_who_is_silent() {
    let mut session = Session::new(Manner { continuous: true, ..Manner::default() });
    assert_eq!(session.listen_anew(), None, "there is no recording");
    session.listen();
    assert_eq!(session.listen_anew(), Some(vec![Effect::Drop, Effect::Record]));
    session.update(Message::Began);
    assert_eq!(session.listen_anew(), None);
    session.update(Message::Ended);
    assert_eq!(session.listen_anew(), None);
}
