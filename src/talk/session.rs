//! A conversation as a state that keys, sounds and answers change. Nothing here records, asks or prints.

use std::collections::VecDeque;

use cadence_protocol::{InputAnswer, Intent, Parsed, Task, Transcription, VoiceCommand};
use cadence_speech::intent::means_each;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler;

/// Levels that the meter remembers.
const METER: usize = 24;

/// Where the conversation is.
#[derive(Debug)]
pub enum State {
    /// Nobody speaks.
    Ready,
    Listening(Listening),
    /// What was said is being written down.
    Transcribing,
    /// What was understood can be changed, and goes when it is right.
    Review(Review),
    /// One of several tasks is to be chosen, or work that would be lost to be confirmed.
    Asking(Review),
    /// Words that were changed are being read.
    Reading(Review),
    /// It is being done.
    Doing,
}

/// A recording.
#[derive(Debug, Default)]
pub struct Listening {
    /// Newest last, each from 0 to 1.
    pub levels: VecDeque<f32>,
    pub clipped: bool,
    pub seconds: f64,
    /// Somebody has begun to speak.
    pub began: bool,
    pub interim: String,
}

/// What was understood.
#[derive(Debug)]
pub struct Review {
    pub text: Input,
    pub parsed: Parsed,
    pub tasks: Vec<Task>,
}

/// What happens outside.
#[derive(Debug)]
pub enum Message {
    Key(KeyEvent),
    Paste(String),
    /// Loudness from 0 to 1, whether it was too loud, and seconds since the beginning.
    Level(f32, bool, f64),
    /// Somebody began to speak.
    Began,
    Interim(String),
    /// The recording has ended, and is on its way to be written down.
    Ended,
    /// What was said, and what it wants.
    Heard(Box<Transcription>, Box<Parsed>, Vec<Task>),
    /// Words that were changed, read again.
    Read(Box<Parsed>, Vec<Task>),
    Done(Box<InputAnswer>),
    Failed(Failed),
}

/// What went wrong: a sentence and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub error: String,
    pub hints: Vec<String>,
}

/// What is to be done outside.
#[derive(Debug, PartialEq)]
pub enum Effect {
    Record,
    /// End the recording; what was said counts.
    Finish,
    /// End whatever is under way; what was said does not count.
    Drop,
    Read(String),
    Do(Box<VoiceCommand>),
    /// Show and say what was done.
    Tell(Box<InputAnswer>),
    Complain(Failed),
    /// Something was said that was not done.
    Dismissed,
    Quit,
}

/// How the conversation is held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Nothing is asked that need not be.
    pub yes: bool,
    /// One sentence, then the end.
    pub once: bool,
    /// Listens again by itself.
    pub continuous: bool,
}

#[derive(Debug)]
pub struct Session {
    pub state: State,
    manner: Manner,
}

impl Session {
    pub fn new(manner: Manner) -> Self {
        Self { state: State::Ready, manner }
    }

    /// Starts to listen, where nothing else is under way.
    pub fn listen(&mut self) -> Vec<Effect> {
        if !matches!(self.state, State::Ready) {
            return Vec::new();
        }
        self.state = State::Listening(Listening::default());
        vec![Effect::Record]
    }

    /// Begins the recording anew, where nobody has begun to speak in it; none where somebody has, or there is no recording.
    pub fn listen_anew(&mut self) -> Option<Vec<Effect>> {
        match &self.state {
            State::Listening(listening) if !listening.began => {
                self.state = State::Listening(Listening::default());
                Some(vec![Effect::Drop, Effect::Record])
            }
            _ => None,
        }
    }

    /// Ends the recording, where there is one.
    pub fn finish(&mut self) -> Vec<Effect> {
        if !matches!(self.state, State::Listening(_)) {
            return Vec::new();
        }
        self.state = State::Transcribing;
        vec![Effect::Finish]
    }

    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        match message {
            Message::Key(key) => self.key(key),
            Message::Paste(text) => {
                if let State::Review(review) = &mut self.state {
                    let line = text.lines().collect::<Vec<_>>().join(" ");
                    let whole = format!("{}{line}", review.text.value());
                    review.text = Input::new(whole);
                }
                Vec::new()
            }
            Message::Level(level, clipped, seconds) => {
                if let State::Listening(listening) = &mut self.state {
                    listening.levels.push_back(level.clamp(0.0, 1.0));
                    if listening.levels.len() > METER {
                        listening.levels.pop_front();
                    }
                    listening.clipped |= clipped;
                    listening.seconds = seconds;
                }
                Vec::new()
            }
            Message::Began => {
                if let State::Listening(listening) = &mut self.state {
                    listening.began = true;
                }
                Vec::new()
            }
            Message::Interim(text) => {
                if let State::Listening(listening) = &mut self.state {
                    listening.interim = text;
                }
                Vec::new()
            }
            Message::Ended => {
                if matches!(self.state, State::Listening(_)) {
                    self.state = State::Transcribing;
                }
                Vec::new()
            }
            Message::Heard(_, parsed, tasks) => {
                let text = Input::new(parsed.command.transcript.clone());
                self.understood(Review { text, parsed: *parsed, tasks })
            }
            Message::Read(parsed, tasks) => match std::mem::replace(&mut self.state, State::Ready) {
                State::Reading(_) => {
                    let text = Input::new(parsed.command.transcript.clone());
                    self.understood(Review { text, parsed: *parsed, tasks })
                }
                other => {
                    self.state = other;
                    Vec::new()
                }
            },
            Message::Done(answer) => self.next(vec![Effect::Tell(answer)]),
            Message::Failed(failed) => self.failed(failed),
        }
    }

    /// What was changed is not lost when it cannot be read or done.
    fn failed(&mut self, failed: Failed) -> Vec<Effect> {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Reading(review) => {
                self.state = State::Review(review);
                vec![Effect::Complain(failed)]
            }
            _ => self.next(vec![Effect::Complain(failed)]),
        }
    }

    fn understood(&mut self, review: Review) -> Vec<Effect> {
        let command = &review.parsed.command;
        // A question changes nothing, so nobody has to confirm that it is one.
        let asks = matches!(command.intent, Intent::CheckStatus | Intent::ListAgents);
        let clear = self.manner.yes || (asks && !review.parsed.needs_confirmation);
        if clear && command.intent != Intent::Unknown && targeted(command) {
            let command = command.clone();
            self.state = State::Doing;
            return vec![Effect::Do(Box::new(command))];
        }
        self.state = State::Review(review);
        Vec::new()
    }

    /// After one sentence: the next one, or the end.
    fn next(&mut self, mut effects: Vec<Effect>) -> Vec<Effect> {
        self.state = State::Ready;
        if self.manner.once {
            effects.push(Effect::Quit);
        } else if self.manner.continuous {
            effects.extend(self.listen());
        }
        effects
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let leaves = control && matches!(key.code, KeyCode::Char('c' | 'd'));
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Ready if leaves || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) => vec![Effect::Quit],
            State::Ready => Vec::new(),
            State::Listening(_) | State::Transcribing if leaves || key.code == KeyCode::Esc => {
                let quit = leaves.then_some(Effect::Quit);
                [Effect::Drop].into_iter().chain(quit).collect()
            }
            State::Review(_) | State::Asking(_) if leaves => vec![Effect::Dismissed, Effect::Quit],
            State::Review(_) if key.code == KeyCode::Esc => self.next(vec![Effect::Dismissed]),
            State::Review(review) if key.code == KeyCode::Enter => self.go(review),
            State::Review(mut review) => {
                review.text.handle_event(&Event::Key(key));
                self.state = State::Review(review);
                Vec::new()
            }
            State::Asking(review) => self.choose(review, key.code),
            // What is under way at the server cannot be taken back.
            State::Doing if leaves => {
                self.state = State::Doing;
                vec![Effect::Quit]
            }
            State::Reading(review) if key.code == KeyCode::Esc => {
                self.state = State::Review(review);
                Vec::new()
            }
            other => {
                self.state = other;
                Vec::new()
            }
        }
    }

    /// The words are right.
    fn go(&mut self, review: Review) -> Vec<Effect> {
        let text = review.text.value().trim().to_owned();
        if text.is_empty() {
            return self.next(vec![Effect::Dismissed]);
        }
        let command = &review.parsed.command;
        if text != command.transcript.trim() {
            self.state = State::Reading(review);
            return vec![Effect::Read(text)];
        }
        if command.intent == Intent::Unknown || (!targeted(command) && command.candidates.is_empty()) {
            let error = match command.intent {
                Intent::Unknown => "this is not understood; change it, or Esc",
                _ => "it is not clear which task is meant; name it, or Esc",
            };
            self.state = State::Review(review);
            return vec![Effect::Complain(Failed { error: error.to_owned(), hints: Vec::new() })];
        }
        let sure = matches!(command.intent, Intent::CreateAgent | Intent::ListAgents | Intent::CheckStatus);
        if review.parsed.needs_confirmation && !sure {
            self.state = State::Asking(review);
            return Vec::new();
        }
        let command = command.clone();
        self.state = State::Doing;
        vec![Effect::Do(Box::new(command))]
    }

    fn choose(&mut self, review: Review, key: KeyCode) -> Vec<Effect> {
        let mut command = review.parsed.command.clone();
        match key {
            KeyCode::Esc | KeyCode::Char('n') => {
                self.state = State::Review(review);
                return Vec::new();
            }
            KeyCode::Char('y') | KeyCode::Enter if targeted(&command) => {}
            KeyCode::Char(digit) if !targeted(&command) => {
                let number = digit.to_digit(10).and_then(|number| (number as usize).checked_sub(1));
                let Some(id) = number.and_then(|number| command.candidates.get(number)) else {
                    self.state = State::Asking(review);
                    return Vec::new();
                };
                command.entities.agent_id = Some(*id);
                command.candidates.clear();
            }
            _ => {
                self.state = State::Asking(review);
                return Vec::new();
            }
        }
        self.state = State::Doing;
        vec![Effect::Do(Box::new(command))]
    }
}

/// Whether it is clear what a command is about.
pub fn targeted(command: &VoiceCommand) -> bool {
    match command.intent {
        Intent::CreateAgent | Intent::ListAgents | Intent::Unknown => true,
        Intent::CheckStatus => command.entities.agent_id.is_some() || command.candidates.is_empty(),
        _ => command.entities.agent_id.is_some() || means_each(command),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
