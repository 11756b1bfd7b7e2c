//! Forms: a new task, a follow-up, a changed request.

use cadence_protocol::{Approval, PermissionMode};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Modifier, Style};
use ratatui_textarea::TextArea;
use serde_json::Value;
use tui_input::Input;
use uuid::Uuid;

use super::type_key;
use crate::tui::message::NewTask;

/// Agents that a task can be given to; the first is the one of the settings.
pub const AGENTS: &[&str] = &["default", "claude", "codex", "opencode", "demo"];
pub const PERMISSIONS: &[&str] = &["default", "ask", "edits", "all"];

/// What a form makes of a key.
#[derive(Debug, PartialEq)]
pub enum Typed<T> {
    More,
    Done(T),
    /// It is left; what was typed is kept.
    Left,
}

/// Whether a key ends the text: Enter alone. With Alt, Shift or Control, or as Ctrl-J, it is a line end in it.
fn sends(key: KeyEvent) -> bool {
    key.code == KeyCode::Enter && key.modifiers.is_empty()
}

fn type_text(text: &mut TextArea<'static>, key: KeyEvent) {
    let control_j = key.code == KeyCode::Char('j') && key.modifiers.contains(KeyModifiers::CONTROL);
    if key.code == KeyCode::Enter || control_j {
        text.insert_newline();
    } else {
        text.input(ratatui_textarea::Input::from(key));
    }
}

fn area(text: &str) -> TextArea<'static> {
    let mut area = TextArea::new(text.lines().map(str::to_owned).collect());
    area.move_cursor(ratatui_textarea::CursorMove::Bottom);
    area.move_cursor(ratatui_textarea::CursorMove::End);
    area.set_wrap_mode(ratatui_textarea::WrapMode::WordOrGlyph);
    area.set_cursor_line_style(Style::new());
    area
}

fn content(area: &TextArea<'_>) -> String {
    area.lines().join("\n")
}

/// Pasted text as it is put into a form: its line ends stay, what a terminal would obey does not.
fn pasted(text: &str) -> String {
    crate::text::clean(&text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Fields of a new task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field {
    #[default]
    Text,
    Repository,
    Agent,
    Model,
    Permission,
    Budget,
}

impl Field {
    pub const ALL: [Self; 6] = [Self::Text, Self::Repository, Self::Agent, Self::Model, Self::Permission, Self::Budget];

    fn step(self, forward: bool) -> Self {
        let now = Self::ALL.iter().position(|field| *field == self).unwrap_or(0);
        let count = Self::ALL.len();
        Self::ALL[(now + if forward { 1 } else { count - 1 }) % count]
    }
}

/// A new task that is being written.
#[derive(Debug)]
pub struct TaskForm {
    pub text: TextArea<'static>,
    pub repository: Input,
    pub agent: usize,
    pub model: Input,
    pub permission: usize,
    pub budget: Input,
    pub field: Field,
    pub error: Option<String>,
}

impl TaskForm {
    pub fn new(repository: String) -> Self {
        Self {
            text: area(""),
            repository: Input::new(repository),
            agent: 0,
            model: Input::default(),
            permission: 0,
            budget: Input::default(),
            field: Field::Text,
            error: None,
        }
    }

    /// A task that could not be created, to be changed.
    pub fn again(task: &NewTask, error: String) -> Self {
        let index = |names: &[&str], name: Option<&str>| names.iter().position(|n| Some(*n) == name).unwrap_or(0);
        Self {
            text: area(&task.description),
            repository: Input::new(task.repository.clone()),
            agent: index(AGENTS, task.agent.as_deref()),
            model: Input::new(task.model.clone().unwrap_or_default()),
            permission: index(PERMISSIONS, task.permission.map(PermissionMode::as_str)),
            budget: Input::new(task.budget.map(|budget| budget.to_string()).unwrap_or_default()),
            field: Field::Text,
            error: Some(error),
        }
    }

    pub fn is_empty(&self) -> bool {
        content(&self.text).trim().is_empty()
    }

    pub fn paste(&mut self, text: &str) {
        match self.field {
            Field::Text => drop(self.text.insert_str(pasted(text))),
            Field::Repository => paste_line(&mut self.repository, text),
            Field::Model => paste_line(&mut self.model, text),
            Field::Budget => paste_line(&mut self.budget, text),
            Field::Agent | Field::Permission => {}
        }
    }

    pub fn key(&mut self, key: KeyEvent) -> Typed<NewTask> {
        self.error = None;
        match key.code {
            KeyCode::Esc => return Typed::Left,
            KeyCode::Tab | KeyCode::BackTab => {
                let back = key.code == KeyCode::BackTab || key.modifiers.contains(KeyModifiers::SHIFT);
                self.field = self.field.step(!back);
                let here = self.field == Field::Text;
                let cursor = if here { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
                self.text.set_cursor_style(cursor);
            }
            _ if sends(key) => match self.task() {
                Ok(task) => return Typed::Done(task),
                Err(error) => self.error = Some(error),
            },
            _ => match self.field {
                Field::Text => type_text(&mut self.text, key),
                Field::Repository => type_key(&mut self.repository, key),
                Field::Model => type_key(&mut self.model, key),
                Field::Budget => type_key(&mut self.budget, key),
                Field::Agent => choose(&mut self.agent, AGENTS.len(), key),
                Field::Permission => choose(&mut self.permission, PERMISSIONS.len(), key),
            },
        }
        Typed::More
    }

    fn task(&self) -> Result<NewTask, String> {
        let description = content(&self.text).trim().to_owned();
        if description.is_empty() {
            return Err("say what is to be done".to_owned());
        }
        if description.len() > cadence_protocol::MAX_DESCRIPTION {
            return Err("it is too long; put the details into a file and name it".to_owned());
        }
        let text = |input: &Input| Some(input.value().trim().to_owned()).filter(|text| !text.is_empty());
        let budget = match text(&self.budget) {
            None => None,
            Some(text) => {
                let dollars = text.trim_start_matches('$').parse::<f64>().ok();
                let valid = dollars.filter(|dollars| dollars.is_finite() && *dollars > 0.0);
                Some(valid.ok_or_else(|| format!("`{text}` is no budget; write dollars, like 2.50"))?)
            }
        };
        Ok(NewTask {
            description,
            repository: text(&self.repository).unwrap_or_default(),
            agent: AGENTS.get(self.agent).filter(|_| self.agent > 0).map(|name| (*name).to_owned()),
            model: text(&self.model),
            budget,
            permission: PERMISSIONS.get(self.permission).and_then(|name| name.parse().ok()),
        })
    }
}

fn choose(index: &mut usize, count: usize, key: KeyEvent) {
    match key.code {
        KeyCode::Right | KeyCode::Down | KeyCode::Char(' ') => *index = (*index + 1) % count,
        KeyCode::Left | KeyCode::Up => *index = (*index + count - 1) % count,
        _ => {}
    }
}

/// JSON with everything escaped that would not be seen.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for character in json.chars() {
        if character == '\n' || crate::text::printable(character) {
            out.push(character);
        } else {
            out.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// Puts pasted text where the cursor is; its line ends become spaces.
pub fn paste_line(input: &mut Input, text: &str) {
    for character in crate::text::clean_line(text).chars() {
        input.handle(tui_input::InputRequest::InsertChar(character));
    }
}

/// Something more for an agent.
#[derive(Debug)]
pub struct Compose {
    pub tasks: Vec<Uuid>,
    pub title: String,
    pub text: TextArea<'static>,
}

impl Compose {
    pub fn new(tasks: Vec<Uuid>, title: String, draft: &str) -> Self {
        Self { tasks, title, text: area(draft) }
    }

    pub fn content(&self) -> String {
        content(&self.text)
    }

    pub fn paste(&mut self, text: &str) {
        self.text.insert_str(pasted(text));
    }

    pub fn key(&mut self, key: KeyEvent) -> Typed<String> {
        match key.code {
            KeyCode::Esc => return Typed::Left,
            _ if sends(key) => {
                let text = self.content().trim().to_owned();
                return if text.is_empty() { Typed::More } else { Typed::Done(text) };
            }
            _ => type_text(&mut self.text, key),
        }
        Typed::More
    }
}

/// What an agent asks for, changed before it is allowed: a command as text, everything else as JSON.
#[derive(Debug)]
pub struct EditInput {
    pub approval: Approval,
    pub text: TextArea<'static>,
    pub is_command: bool,
    pub error: Option<String>,
}

impl EditInput {
    pub fn new(approval: Approval) -> Self {
        // A command that hides something is shown as JSON too, where nothing can hide.
        let open = |command: &&str| approval.tool == "Bash" && crate::text::reveal(command) == **command;
        let command = approval.input.get("command").and_then(Value::as_str).filter(open);
        let text = match command {
            Some(command) => command.to_owned(),
            None => escaped(&serde_json::to_string_pretty(&approval.input).unwrap_or_default()),
        };
        let is_command = command.is_some();
        let mut text = area(&text);
        if !is_command {
            text.move_cursor(ratatui_textarea::CursorMove::Top);
        }
        Self { text, is_command, approval, error: None }
    }

    pub fn paste(&mut self, text: &str) {
        self.text.insert_str(pasted(text));
    }

    pub fn key(&mut self, key: KeyEvent) -> Typed<Value> {
        self.error = None;
        match key.code {
            KeyCode::Esc => return Typed::Left,
            _ if sends(key) => match self.input() {
                Ok(input) => return Typed::Done(input),
                Err(error) => self.error = Some(error),
            },
            _ => type_text(&mut self.text, key),
        }
        Typed::More
    }

    fn input(&self) -> Result<Value, String> {
        let text = content(&self.text);
        if self.is_command {
            if text.trim().is_empty() {
                return Err("the command is empty; refuse it instead".to_owned());
            }
            let mut input = self.approval.input.clone();
            input["command"] = Value::String(text.trim_end().to_owned());
            return Ok(input);
        }
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("this is no JSON: {error}"))?;
        if value.is_object() { Ok(value) } else { Err("a tool's input is a JSON object".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn press(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn type_into(form: &mut TaskForm, text: &str) {
        for character in text.chars() {
            assert_eq!(form.key(press(KeyCode::Char(character))), Typed::More);
        }
    }

    #[test]
    fn a_task_is_written_with_everything_that_it_takes() {
        let mut form = TaskForm::new("/work/demo".into());
        type_into(&mut form, "Fix it");
        form.key(KeyEvent::new(KeyCode::Enter, KeyModifiers::ALT));
        form.paste("one\r\ntwo\u{1b}[2J");
        form.key(press(KeyCode::Tab));
        form.key(press(KeyCode::Tab));
        form.key(press(KeyCode::Right));
        form.key(press(KeyCode::Tab));
        type_into(&mut form, "sonnet");
        form.key(press(KeyCode::Tab));
        form.key(press(KeyCode::Left));
        form.key(press(KeyCode::Tab));
        type_into(&mut form, "$2.5");
        let Typed::Done(task) = form.key(press(KeyCode::Enter)) else { panic!("{:?}", form.error) };
        let wanted = NewTask {
            description: "Fix it\none\ntwo".into(),
            repository: "/work/demo".into(),
            agent: Some("claude".into()),
            model: Some("sonnet".into()),
            budget: Some(2.5),
            permission: Some(PermissionMode::All),
        };
        assert_eq!(task, wanted);
        assert_eq!(TaskForm::again(&task, "no".into()).task().unwrap(), task);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_and_nothing_is_lost() {
        let mut form = TaskForm::new(String::new());
        assert_eq!(form.key(press(KeyCode::Enter)), Typed::More);
        assert_eq!(form.error.as_deref(), Some("say what is to be done"));
        type_into(&mut form, "x");
        form.field = Field::Budget;
        type_into(&mut form, "much");
        assert_eq!(form.key(press(KeyCode::Enter)), Typed::More);
        assert_eq!(form.error.as_deref(), Some("`much` is no budget; write dollars, like 2.50"));
        assert!(!form.is_empty());
    }

    #[test]
    fn a_request_is_changed_as_what_it_is() {
        let approval = |tool: &str, input: Value| Approval {
            tool: tool.into(),
            ..crate::client::stub::approval("a", cadence_protocol::ApprovalKind::Permission, input)
        };
        let mut edit = EditInput::new(approval("Bash", serde_json::json!({"command": "rm -rf x", "timeout": 3})));
        edit.paste("2");
        let Typed::Done(input) = edit.key(press(KeyCode::Enter)) else { panic!() };
        assert_eq!(input, serde_json::json!({"command": "rm -rf x2", "timeout": 3}));
        // What hides in a command is seen, and stays what it is.
        let hiding = serde_json::json!({"command": "ls\u{1b}[2K \u{202e}x\r"});
        let mut edit = EditInput::new(approval("Bash", hiding.clone()));
        assert!(content(&edit.text).contains(r"ls\u001b[2K \u202ex\r"), "{}", content(&edit.text));
        assert_eq!(edit.key(press(KeyCode::Enter)), Typed::Done(hiding));
        let mut edit = EditInput::new(approval("Write", serde_json::json!({"content": "x"})));
        edit.paste("}");
        assert_eq!(edit.key(press(KeyCode::Enter)), Typed::More);
        assert!(edit.error.unwrap().starts_with("this is no JSON"));
    }
}
