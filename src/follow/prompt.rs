//! What is asked at the terminal, as a state that keys change. Nothing here reads or prints.

use std::collections::BTreeMap;

use cadence_protocol::{Approval, ApprovalKind, Decide, DecisionRequest};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use super::question::{Question, check_number, questions};
use crate::render::{BOLD, CYAN, DIM, Line, PLAIN, RED, YELLOW};

/// Something that is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Permission {
        approval: Box<Approval>,
        message: Option<Field>,
    },
    Questions {
        approval: Box<Approval>,
        questions: Vec<Question>,
        answers: BTreeMap<String, String>,
        field: Field,
        /// Why the last answer was not taken.
        refused: Option<String>,
    },
    /// After Ctrl-C. `only_cancel`: the task cannot go on when the command is left.
    Interrupt {
        only_cancel: bool,
    },
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, or other words to show.
    Stay,
    Decide(Box<Approval>, Decide),
    /// The input is to be edited by hand.
    Edit(Box<Approval>),
    /// Ctrl-C.
    Interrupt,
    Choose(Choice),
}

/// The answer to Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Leave; the task goes on.
    Detach,
    Pause,
    Cancel,
    /// Go on following.
    Stay,
}

/// A line of text that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field(String);

/// What typing led to.
enum Typed {
    More,
    Done(String),
    Back,
}

impl Field {
    fn key(&mut self, key: KeyEvent) -> Typed {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Typed::Done(std::mem::take(&mut self.0)),
            KeyCode::Esc => return Typed::Back,
            KeyCode::Backspace => drop(self.0.pop()),
            KeyCode::Char('u') if control => self.0.clear(),
            KeyCode::Char('w') if control => {
                let kept = self.0.trim_end().rfind(' ').map_or(0, |at| at + 1);
                self.0.truncate(kept);
            }
            KeyCode::Char(character) if !control => self.0.push(character),
            _ => {}
        }
        Typed::More
    }

    /// Adds pasted text; its line ends become spaces, so that nothing is sent by a paste.
    pub fn paste(&mut self, text: &str) {
        self.0.push_str(&crate::text::clean_line(text));
    }
}

pub fn decide(decision: DecisionRequest) -> Decide {
    Decide { decision, updated_input: None, answers: None, message: None }
}

/// Allows a tool with another input than it asked for.
pub fn allow_with(input: Value) -> Decide {
    Decide { updated_input: Some(input), ..decide(DecisionRequest::Allow) }
}

impl Prompt {
    pub fn of(approval: Approval) -> Self {
        let open = questions(&approval.input);
        let approval = Box::new(approval);
        if approval.kind == ApprovalKind::Question && !open.is_empty() {
            let (answers, field) = (BTreeMap::new(), Field::default());
            return Self::Questions { approval, questions: open, answers, field, refused: None };
        }
        Self::Permission { approval, message: None }
    }

    /// Asks why something is refused; nothing need be said.
    pub fn refusal(approval: Approval) -> Self {
        Self::Permission { approval: Box::new(approval), message: Some(Field::default()) }
    }

    /// The approval that it is about.
    pub fn approval_id(&self) -> Option<&str> {
        match self {
            Self::Permission { approval, .. } | Self::Questions { approval, .. } => Some(&approval.id),
            Self::Interrupt { .. } => None,
        }
    }

    pub fn paste(&mut self, text: &str) {
        match self {
            Self::Permission { message: Some(field), .. } | Self::Questions { field, .. } => field.paste(text),
            _ => {}
        }
    }

    pub fn key(&mut self, key: KeyEvent) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return match self {
                // A second time: leave at once.
                Self::Interrupt { only_cancel: true } => Step::Choose(Choice::Cancel),
                Self::Interrupt { .. } => Step::Choose(Choice::Detach),
                _ => Step::Interrupt,
            };
        }
        match self {
            Self::Interrupt { only_cancel } => match key.code {
                KeyCode::Char('d' | 'D') if !*only_cancel => Step::Choose(Choice::Detach),
                KeyCode::Char('p' | 'P') if !*only_cancel => Step::Choose(Choice::Pause),
                KeyCode::Char('c' | 'C') => Step::Choose(Choice::Cancel),
                KeyCode::Enter | KeyCode::Esc => Step::Choose(Choice::Stay),
                _ => Step::Stay,
            },
            Self::Permission { approval, message: Some(field) } => match field.key(key) {
                Typed::More => Step::Stay,
                Typed::Back => {
                    *self = Self::Permission { approval: approval.clone(), message: None };
                    Step::Stay
                }
                Typed::Done(text) => {
                    let message = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
                    Step::Decide(approval.clone(), Decide { message, ..decide(DecisionRequest::Deny) })
                }
            },
            Self::Permission { approval, message } => match key.code {
                KeyCode::Char('y' | 'Y') => Step::Decide(approval.clone(), decide(DecisionRequest::Allow)),
                KeyCode::Char('a' | 'A') => Step::Decide(approval.clone(), decide(DecisionRequest::AllowAlways)),
                KeyCode::Char('n' | 'N') => Step::Decide(approval.clone(), decide(DecisionRequest::Deny)),
                KeyCode::Char('e' | 'E') => Step::Edit(approval.clone()),
                KeyCode::Char('m' | 'M') => {
                    *message = Some(Field::default());
                    Step::Stay
                }
                _ => Step::Stay,
            },
            Self::Questions { approval, questions, answers, field, refused } => match field.key(key) {
                Typed::Done(text) => {
                    let Some(question) = questions.get(answers.len()) else { return Step::Stay };
                    *refused = check_number(question, &text).err();
                    if refused.is_some() {
                        return Step::Stay;
                    }
                    if let Some(answer) = question.answer(&text) {
                        answers.insert(question.text.clone(), answer);
                    }
                    // Questions of the same words have one answer.
                    while questions.get(answers.len()).is_some_and(|q| answers.contains_key(&q.text)) {
                        questions.remove(answers.len());
                    }
                    if answers.len() < questions.len() {
                        return Step::Stay;
                    }
                    let answers = Some(answers.clone());
                    Step::Decide(approval.clone(), Decide { answers, ..decide(DecisionRequest::Allow) })
                }
                Typed::More | Typed::Back => Step::Stay,
            },
        }
    }

    /// What is shown below everything else, on a terminal of so many columns. The request itself was shown before.
    pub fn lines(&self, columns: usize) -> Vec<Line> {
        match self {
            Self::Permission { message: Some(field), .. } => {
                vec![
                    Line::of(RED, "  deny, and tell the agent: ")
                        .add(PLAIN, &field.0)
                        .add(DIM, "▏  (enter sends, esc goes back)"),
                ]
            }
            Self::Permission { .. } => {
                let keys = [("y", "yes"), ("a", "always"), ("e", "edit"), ("n", "no"), ("m", "no, with a message")];
                choices("allow it?", &keys, columns)
            }
            Self::Questions { questions, answers, field, refused, .. } => {
                let Some(question) = questions.get(answers.len()) else { return Vec::new() };
                let numbers = match (question.options.len(), question.several) {
                    (0, _) => "your words".to_owned(),
                    (count, false) => format!("1-{count}, or your own words"),
                    (count, true) => format!("1-{count}, several with commas, or your own words"),
                };
                let mut lines = Vec::new();
                if questions.len() > 1 {
                    lines.push(
                        Line::of(DIM, format!("  {} of {}: ", answers.len() + 1, questions.len()))
                            .add(BOLD, crate::text::clean_line(&question.text)),
                    );
                }
                if let Some(refused) = refused {
                    lines.push(Line::of(RED, format!("  {}", crate::text::clean_line(refused))));
                }
                lines.push(
                    Line::of(YELLOW, "  answer").add(DIM, format!(" ({numbers}): ")).add(PLAIN, &field.0).add(DIM, "▏"),
                );
                lines
            }
            Self::Interrupt { only_cancel: true } => {
                choices("leave?", &[("c", "cancel it"), ("enter", "stay")], columns)
            }
            Self::Interrupt { only_cancel: false } => {
                let keys = [("d", "detach, it goes on"), ("p", "pause it"), ("c", "cancel it"), ("enter", "stay")];
                choices("leave?", &keys, columns)
            }
        }
    }
}

/// A question and its keys, on as many lines as they need. No key is torn from what it does.
fn choices(question: &str, keys: &[(&str, &str)], columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Line::of(YELLOW, format!("  {question}"));
    for (key, what) in keys {
        let choice = Line::of(CYAN, format!("[{key}]")).add(PLAIN, format!(" {what}"));
        if line.width() + 2 + choice.width() > columns {
            lines.push(std::mem::replace(&mut line, Line::of(PLAIN, "  ")));
        }
        line = choice.after(line.add(PLAIN, "  "));
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;
    use crate::client::stub;
    use crate::render::plain;

    fn approval(kind: ApprovalKind, input: Value) -> Approval {
        stub::approval("r1", kind, input)
    }

    fn press(prompt: &mut Prompt, text: &str) -> Step {
        let mut last = Step::Stay;
        for character in text.chars() {
            let code = match character {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                other => KeyCode::Char(other),
            };
            last = prompt.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        last
    }

    const CTRL_C: KeyEvent = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);

    #[test]
    fn permission_is_given_and_refused() {
        let ask = || Prompt::of(approval(ApprovalKind::Permission, json!({"command": "make"})));
        let decided = |keys: &str| match press(&mut ask(), keys) {
            Step::Decide(_, decide) => decide,
            other => panic!("{other:?}"),
        };
        assert_eq!(decided("y").decision, DecisionRequest::Allow);
        assert_eq!(decided("a").decision, DecisionRequest::AllowAlways);
        assert_eq!(decided("n"), decide(DecisionRequest::Deny));
        assert_eq!(decided("mnox\u{8}t\n").message.as_deref(), Some("not"));
        assert_eq!(decided("m\u{1b}y").decision, DecisionRequest::Allow);
        assert_eq!(press(&mut ask(), "x"), Step::Stay);
        assert!(matches!(press(&mut ask(), "e"), Step::Edit(_)));
        assert_eq!(ask().key(CTRL_C), Step::Interrupt);
        // Enter alone decides nothing: a hand that is typing shall not allow anything.
        assert_eq!(press(&mut ask(), "\n"), Step::Stay);
    }

    #[test]
    fn questions_are_answered_one_after_another() {
        let input = json!({"questions": [
            {"question": "Colour?", "options": [{"label": "Red"}, {"label": "Blue"}]},
            {"question": "Why?", "options": []},
        ]});
        let mut prompt = Prompt::of(approval(ApprovalKind::Question, input));
        insta::assert_snapshot!(plain(&prompt.lines(80)), @r#"
        1 of 2: Colour?
        answer (1-2, or your own words): ▏
        "#);
        assert_eq!(press(&mut prompt, "\n"), Step::Stay);
        assert_eq!(press(&mut prompt, "2\n"), Step::Stay);
        insta::assert_snapshot!(plain(&prompt.lines(80)), @r#"
        2 of 2: Why?
        answer (your words): ▏
        "#);
        let Step::Decide(_, decide) = press(&mut prompt, "it is calm\n") else { panic!("not decided") };
        let answers = decide.answers.unwrap();
        assert_eq!(answers["Colour?"], "Blue");
        assert_eq!(answers["Why?"], "it is calm");
    }

    #[test]
    fn a_number_that_is_no_option_is_refused() {
        let input = json!({"questions": [{"question": "Colour?", "options": [{"label": "Red"}, {"label": "Blue"}]}]});
        let mut prompt = Prompt::of(approval(ApprovalKind::Question, input));
        assert_eq!(press(&mut prompt, "7\n"), Step::Stay);
        insta::assert_snapshot!(plain(&prompt.lines(80)), @r#"
        7 is none of the options; they are: 1 Red, 2 Blue
        answer (1-2, or your own words): ▏
        "#);
        let Step::Decide(_, decide) = press(&mut prompt, "2\n") else { panic!("not decided") };
        assert_eq!(decide.answers.unwrap()["Colour?"], "Blue");
    }

    #[test]
    fn keys_are_all_seen_on_a_narrow_terminal() {
        let permission = Prompt::of(approval(ApprovalKind::Permission, json!({})));
        insta::assert_snapshot!(plain(&permission.lines(39)), @r#"
        allow it?  [y] yes  [a] always
          [e] edit  [n] no
          [m] no, with a message
        "#);
        insta::assert_snapshot!(plain(&Prompt::Interrupt { only_cancel: false }.lines(39)), @r#"
        leave?  [d] detach, it goes on
          [p] pause it  [c] cancel it
          [enter] stay
        "#);
        assert!(permission.lines(10).iter().all(|line| line.plain().matches('[').count() <= 1));
    }

    #[test]
    fn a_second_interrupt_detaches() {
        let mut prompt = Prompt::Interrupt { only_cancel: false };
        insta::assert_snapshot!(plain(&prompt.lines(80)), @"  leave?  [d] detach, it goes on  [p] pause it  [c] cancel it  [enter] stay");
        assert_eq!(prompt.key(CTRL_C), Step::Choose(Choice::Detach));
        assert_eq!(press(&mut prompt, "p"), Step::Choose(Choice::Pause));
        assert_eq!(press(&mut prompt, "c"), Step::Choose(Choice::Cancel));
        assert_eq!(press(&mut prompt, "\n"), Step::Choose(Choice::Stay));
    }

    #[test]
    fn what_ends_with_the_command_can_only_be_cancelled() {
        let mut prompt = Prompt::Interrupt { only_cancel: true };
        insta::assert_snapshot!(plain(&prompt.lines(80)), @"  leave?  [c] cancel it  [enter] stay");
        assert_eq!(press(&mut prompt, "d"), Step::Stay);
        assert_eq!(press(&mut prompt, "p"), Step::Stay);
        assert_eq!(prompt.key(CTRL_C), Step::Choose(Choice::Cancel));
    }

    #[test]
    fn a_paste_sends_nothing() {
        let mut prompt = Prompt::of(approval(ApprovalKind::Permission, json!({})));
        press(&mut prompt, "m");
        prompt.paste("two\nlines\u{1b}[31m");
        let Step::Decide(_, decide) = press(&mut prompt, "\n") else { panic!("not decided") };
        assert_eq!(decide.message.as_deref(), Some("two lines"));
    }
}
