//! Push to talk: what keys mean while somebody may be speaking. Pure: time comes in with each key.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A press this soon after the last one is the key repeating itself: systems wait 500 to 660 ms before the first repeat.
const REPEAT_DELAY: Duration = Duration::from_millis(700);

/// The keys that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Space,
    Enter,
    /// Escape or Ctrl-C.
    Cancel,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Press,
    Repeat,
    Release,
}

impl Key {
    /// The key of an event of the terminal, where it is one of these.
    pub fn of(event: &KeyEvent) -> Option<(Self, Kind)> {
        let kind = match event.kind {
            KeyEventKind::Press => Kind::Press,
            KeyEventKind::Repeat => Kind::Repeat,
            KeyEventKind::Release => Kind::Release,
        };
        let key = match event.code {
            KeyCode::Char('c' | 'C') if event.modifiers.contains(KeyModifiers::CONTROL) => Self::Cancel,
            KeyCode::Esc => Self::Cancel,
            KeyCode::Enter => Self::Enter,
            KeyCode::Char(' ') => Self::Space,
            _ => return None,
        };
        Some((key, kind))
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin to record.
    Start,
    /// End the recording and use it.
    Stop,
    /// End the recording and forget it; with nothing recorded, leave.
    Cancel,
}

/// Whether somebody speaks, by the keys that they press.
///
/// Where the terminal reports releases, Space is held while speaking. Elsewhere Space begins and ends, and since a key that is
/// held arrives as many presses, those that follow one another closely are one.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    releases: bool,
    recording: bool,
    /// When Space was last pressed, or repeated itself.
    pressed: Option<Duration>,
}

impl Talk {
    /// `releases`: the terminal reports when a key is let go, see [`super::Keyboard`].
    pub const fn new(releases: bool) -> Self {
        Self { releases, recording: false, pressed: None }
    }

    #[cfg(test)]
    const fn is_recording(self) -> bool {
        self.recording
    }

    /// What a key means that came at `now`, counted from any fixed moment.
    pub fn key(&mut self, key: Key, kind: Kind, now: Duration) -> Option<Action> {
        match (key, kind) {
            (Key::Space, kind) => self.space(kind, now),
            (Key::Enter, Kind::Press) if self.recording => self.end(Action::Stop),
            (Key::Cancel, Kind::Press) => self.end(Action::Cancel),
            _ => None,
        }
    }

    /// The recording ended by itself: a pause, the limit, a lost device. A Space that is still held means nothing more.
    pub const fn ended(&mut self) {
        self.recording = false;
    }

    fn space(&mut self, kind: Kind, now: Duration) -> Option<Action> {
        if self.releases {
            return match kind {
                Kind::Press if !self.recording => self.start(),
                Kind::Release if self.recording => self.end(Action::Stop),
                _ => None,
            };
        }
        if kind == Kind::Release {
            return None;
        }
        let repeats = kind == Kind::Repeat || self.pressed.is_some_and(|last| now.saturating_sub(last) < REPEAT_DELAY);
        self.pressed = Some(now);
        match (repeats, self.recording) {
            (true, _) => None,
            (false, true) => self.end(Action::Stop),
            (false, false) => self.start(),
        }
    }

    const fn start(&mut self) -> Option<Action> {
        self.recording = true;
        Some(Action::Start)
    }

    const fn end(&mut self, action: Action) -> Option<Action> {
        self.recording = false;
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use Action::{Cancel, Start, Stop};
    use Kind::{Press, Release, Repeat};

    /// What a script of keys, each with its milliseconds, leads to.
    fn play(talk: &mut Talk, script: &[(u64, Key, Kind)]) -> Vec<(u64, Action)> {
        let mut actions = Vec::new();
        for (at, key, kind) in script {
            actions.extend(talk.key(*key, *kind, Duration::from_millis(*at)).map(|action| (*at, action)));
        }
        actions
    }

    /// Space held from one moment to another, as a terminal without releases shows it.
    fn held(from: u64, until: u64, delay: u64) -> Vec<(u64, Key, Kind)> {
        let repeats = (from + delay..until).step_by(33);
        std::iter::once(from).chain(repeats).map(|at| (at, Key::Space, Press)).collect()
    }

    #[test]
    fn held_space_records_until_it_is_let_go() {
        let script = [
            (0, Key::Space, Press),
            (500, Key::Space, Repeat),
            (533, Key::Space, Repeat),
            (566, Key::Space, Press),
            (2000, Key::Space, Release),
            (2100, Key::Space, Press),
            (2200, Key::Space, Release),
        ];
        let actions = play(&mut Talk::new(true), &script);
        assert_eq!(actions, [(0, Start), (2000, Stop), (2100, Start), (2200, Stop)]);
    }

    #[test]
    fn a_key_that_is_still_held_when_the_recording_ended_by_itself_begins_no_other() {
        let mut talk = Talk::new(true);
        assert_eq!(play(&mut talk, &[(0, Key::Space, Press)]), [(0, Start)]);
        talk.ended();
        let rest = [(30_000, Key::Space, Repeat), (30_033, Key::Space, Repeat), (30_050, Key::Space, Release)];
        assert_eq!(play(&mut talk, &rest), []);
        assert!(!talk.is_recording());

        let mut talk = Talk::new(false);
        let script = held(0, 3000, 500);
        let (before, after) = script.split_at(20);
        assert_eq!(play(&mut talk, before), [(0, Start)]);
        talk.ended();
        assert_eq!(play(&mut talk, after), []);
    }

    #[test]
    fn without_releases_space_begins_and_ends() {
        let script = [(0, Key::Space, Press), (1500, Key::Space, Press), (4000, Key::Space, Press)];
        assert_eq!(play(&mut Talk::new(false), &script), [(0, Start), (1500, Stop), (4000, Start)]);
    }

    #[test]
    fn without_releases_a_held_space_is_one_press() {
        for delay in [250, 500, 600, 660] {
            let mut script = held(0, 3000, delay);
            script.extend(held(5000, 7000, delay));
            assert_eq!(play(&mut Talk::new(false), &script), [(0, Start), (5000, Stop)], "after {delay} ms");
        }
    }

    #[test]
    fn a_release_that_comes_although_none_was_expected_is_nothing() {
        let script = [(0, Key::Space, Press), (900, Key::Space, Release), (1800, Key::Space, Press)];
        assert_eq!(play(&mut Talk::new(false), &script), [(0, Start), (1800, Stop)]);
    }

    #[test]
    fn enter_stops_and_escape_cancels() {
        for releases in [true, false] {
            let mut talk = Talk::new(releases);
            let script = [
                (0, Key::Enter, Press),
                (100, Key::Space, Press),
                (2000, Key::Enter, Press),
                (2010, Key::Enter, Release),
                (3000, Key::Space, Release),
                (4000, Key::Space, Press),
                (5000, Key::Cancel, Press),
                (5100, Key::Space, Release),
                (6000, Key::Cancel, Press),
            ];
            let actions = play(&mut talk, &script);
            assert_eq!(actions, [(100, Start), (2000, Stop), (4000, Start), (5000, Cancel), (6000, Cancel)]);
        }
    }

    #[test]
    fn keys_of_the_terminal_are_known() {
        let key = |code, modifiers| Key::of(&KeyEvent::new(code, modifiers)).map(|(key, _)| key);
        assert_eq!(key(KeyCode::Char(' '), KeyModifiers::NONE), Some(Key::Space));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Cancel));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Some(Key::Cancel));
        let release = KeyEvent::new_with_kind(KeyCode::Char(' '), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(Key::of(&release), Some((Key::Space, Release)));
    }
}
