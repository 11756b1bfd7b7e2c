//! Keys: one table that handles them, shows them in the help and names them in the settings.

use std::collections::BTreeMap;
use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where a key means something. An inner place comes before the outer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everywhere but where text is typed.
    Global,
    /// Acts on the selected task, or on those that are marked.
    Task,
    List,
    /// The open task.
    View,
    Inbox,
}

impl Scope {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Global => "Everywhere",
            Self::Task => "The selected task",
            Self::List => "The list",
            Self::View => "The open task",
            Self::Inbox => "The inbox",
        }
    }
}

macro_rules! actions {
    ($($scope:ident { $($action:ident $name:literal [$($key:literal),*] $hint:literal $about:literal;)+ })+) => {
        /// What a key does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $($($action),+),+ }

        /// The table. A hint is what the bottom line calls the action, where it has room.
        pub const TABLE: &[Entry] = &[$($(
            Entry {
                action: Action::$action,
                name: $name,
                scope: Scope::$scope,
                keys: &[$($key),*],
                hint: $hint,
                about: $about,
            }
        ),+),+];
    };
}

/// One action and its keys.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub action: Action,
    /// In the settings.
    pub name: &'static str,
    pub scope: Scope,
    pub keys: &'static [&'static str],
    pub hint: &'static str,
    pub about: &'static str,
}

actions! {
    Global {
        Help "help" ["?", "f1"] "help" "show every key";
        Palette "palette" [":", "ctrl-p"] "commands" "find a command by its name";
        New "new" ["n"] "new" "give an agent a new task";
        Inbox "inbox" ["i"] "inbox" "what waits for an answer, over all tasks";
        Voice "voice" ["space", "v"] "speak" "speak to the agents";
        NextPane "next-pane" ["tab"] "" "go to the other half";
        Zoom "zoom" ["z"] "" "give the open task the whole width, or take it back";
        Narrower "narrower" ["<"] "" "make the list narrower";
        Wider "wider" [">"] "" "make the list wider";
        Reconnect "reconnect" ["ctrl-r"] "" "connect to the server again at once";
        Redraw "redraw" ["ctrl-l"] "" "draw everything anew";
        Suspend "suspend" ["ctrl-z"] "" "go to the shell; `fg` comes back";
        Quit "quit" ["q", "ctrl-c"] "quit" "leave; agents go on";
    }
    Task {
        Message "message" ["m"] "message" "tell the agent something more";
        Allow "allow" ["y"] "allow" "allow what the agent asks, or answer its question";
        AllowAlways "allow-always" ["Y"] "" "allow it, and all like it in this session";
        Deny "deny" ["d"] "deny" "refuse what the agent asks";
        EditFirst "edit-first" ["e"] "" "change what the agent asks for, then allow it";
        Pause "pause" ["p"] "pause" "stop the agent; it can go on later";
        Resume "resume" ["r"] "resume" "let a paused agent go on";
        Cancel "cancel" ["x"] "cancel" "end the task; what was done stays on its branch";
        Restart "restart" ["R"] "" "begin the request of an ended task anew";
        Archive "archive" ["A"] "archive" "put an ended task away, or take it out again";
        Apply "apply" ["w"] "apply" "take the change into the checkout";
        OpenPullRequest "open-pull-request" ["o"] "" "open the pull request in the browser";
        OpenWorkspace "open-workspace" ["O"] "" "open the task's files in $EDITOR";
        Copy "copy" ["c"] "" "copy: the item under the mark, else the branch";
    }
    List {
        Down "down" ["down", "j"] "" "next task";
        Up "up" ["up", "k"] "" "task before";
        PageDown "page-down" ["pagedown", "ctrl-f"] "" "a page down";
        PageUp "page-up" ["pageup", "ctrl-b"] "" "a page up";
        First "first" ["home", "g"] "" "first task";
        Last "last" ["end", "G"] "" "last task";
        Open "open" ["enter", "right", "l"] "open" "open the task";
        Mark "mark" ["s"] "mark" "mark it, to act on several at once";
        MarkAll "mark-all" ["S"] "" "mark all that are shown, or none";
        Filter "filter" ["/"] "filter" "show only tasks with these words";
        Group "group" ["b"] "" "group by repository";
        TabNext "tab-next" ["]"] "" "next tab";
        TabBefore "tab-before" ["["] "" "tab before";
        TabActive "tab-active" ["1"] "" "all that is not archived";
        TabReview "tab-review" ["2"] "" "changes to look at";
        TabArchived "tab-archived" ["3"] "" "what was put away";
        Back "back" ["esc"] "" "take marks and filter away";
    }
    View {
        Close "close" ["esc", "left", "h"] "back" "back to the list";
        LineDown "line-down" ["down", "j"] "" "a line down";
        LineUp "line-up" ["up", "k"] "" "a line up";
        ViewPageDown "view-page-down" ["pagedown", "ctrl-f"] "" "a page down";
        ViewPageUp "view-page-up" ["pageup", "ctrl-b"] "" "a page up";
        HalfDown "half-down" ["ctrl-d"] "" "half a page down";
        HalfUp "half-up" ["ctrl-u"] "" "half a page up";
        Top "top" ["home", "g"] "" "to the beginning";
        End "end" ["end", "G"] "end" "to the end, and follow it";
        ItemNext "item-next" ["J", "n"] "" "mark the next item (or the next place that was found)";
        ItemBefore "item-before" ["K", "N"] "" "mark the item before (or the place before)";
        Toggle "toggle" ["enter"] "unfold" "unfold the marked item, or fold it";
        ToggleAll "toggle-all" ["E"] "" "unfold all, or fold all";
        Search "search" ["/"] "search" "search in it";
        PaneNext "pane-next" ["]"] "pane" "next pane: transcript, diff, events, facts";
        PaneBefore "pane-before" ["["] "" "pane before";
        PaneTranscript "pane-transcript" ["1"] "" "the transcript";
        PaneDiff "pane-diff" ["2"] "" "the whole diff, by file";
        PaneEvents "pane-events" ["3"] "" "the events as they are stored";
        PaneFacts "pane-facts" ["4"] "" "the task's facts";
    }
    Inbox {
        InboxDown "inbox-down" ["down", "j"] "" "next request";
        InboxUp "inbox-up" ["up", "k"] "" "request before";
        InboxOpen "inbox-open" ["enter"] "open" "go to the task";
        InboxClose "inbox-close" ["esc", "i", "q"] "close" "back";
    }
}

impl Action {
    pub fn entry(self) -> &'static Entry {
        TABLE.iter().find(|entry| entry.action == self).unwrap_or(&TABLE[0])
    }
}

/// A key with what is held beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    control: bool,
    alt: bool,
}

impl Key {
    /// The key that was pressed. Whether shift is held is part of the character.
    pub fn of(event: &KeyEvent) -> Self {
        let code = match event.code {
            KeyCode::BackTab => KeyCode::BackTab,
            KeyCode::Tab if event.modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
            KeyCode::Char(character) if event.modifiers.contains(KeyModifiers::SHIFT) => {
                KeyCode::Char(character.to_uppercase().next().unwrap_or(character))
            }
            code => code,
        };
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        let code = match code {
            KeyCode::Char(character) if control => KeyCode::Char(character.to_ascii_lowercase()),
            code => code,
        };
        Self { code, control, alt: event.modifiers.contains(KeyModifiers::ALT) }
    }

    /// The code, and whether Control and Alt are held.
    #[cfg(test)]
    pub fn parts(self) -> (KeyCode, bool, bool) {
        (self.code, self.control, self.alt)
    }

    /// Reads `q`, `G`, `ctrl-p`, `alt-x`, `enter`, `f5`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}` is no key; write it like q, G, ctrl-p, alt-x, enter, space, f5",
                crate::text::clean_line(text)
            )
        };
        let (mut rest, mut control, mut alt) = (text, false, false);
        loop {
            if let Some(after) = rest.strip_prefix("ctrl-").filter(|after| !after.is_empty()) {
                (rest, control) = (after, true);
            } else if let Some(after) = rest.strip_prefix("alt-").filter(|after| !after.is_empty()) {
                (rest, alt) = (after, true);
            } else {
                break;
            }
        }
        let code = match rest {
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "space" => KeyCode::Char(' '),
            "tab" => KeyCode::Tab,
            "shift-tab" => KeyCode::BackTab,
            "backspace" => KeyCode::Backspace,
            "delete" => KeyCode::Delete,
            "insert" => KeyCode::Insert,
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "left" => KeyCode::Left,
            "right" => KeyCode::Right,
            "home" => KeyCode::Home,
            "end" => KeyCode::End,
            "pageup" => KeyCode::PageUp,
            "pagedown" => KeyCode::PageDown,
            _ => {
                let mut characters = rest.chars();
                match (characters.next(), characters.as_str()) {
                    (Some(character), "") if !character.is_whitespace() && !character.is_control() => {
                        KeyCode::Char(if control { character.to_ascii_lowercase() } else { character })
                    }
                    (Some('f'), number) => {
                        KeyCode::F(number.parse().ok().filter(|number| (1..=24).contains(number)).ok_or_else(wrong)?)
                    }
                    _ => return Err(wrong()),
                }
            }
        };
        Ok(Self { code, control, alt })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.control {
            f.write_str("ctrl-")?;
        }
        if self.alt {
            f.write_str("alt-")?;
        }
        match self.code {
            KeyCode::Enter => f.write_str("enter"),
            KeyCode::Esc => f.write_str("esc"),
            KeyCode::Char(' ') => f.write_str("space"),
            KeyCode::Char(character) => write!(f, "{character}"),
            KeyCode::Tab => f.write_str("tab"),
            KeyCode::BackTab => f.write_str("shift-tab"),
            KeyCode::Backspace => f.write_str("backspace"),
            KeyCode::Delete => f.write_str("delete"),
            KeyCode::Insert => f.write_str("insert"),
            KeyCode::Up => f.write_str("↑"),
            KeyCode::Down => f.write_str("↓"),
            KeyCode::Left => f.write_str("←"),
            KeyCode::Right => f.write_str("→"),
            KeyCode::Home => f.write_str("home"),
            KeyCode::End => f.write_str("end"),
            KeyCode::PageUp => f.write_str("pageup"),
            KeyCode::PageDown => f.write_str("pagedown"),
            KeyCode::F(number) => write!(f, "f{number}"),
            _ => f.write_str("?"),
        }
    }
}

/// The keys that are in force.
#[derive(Clone, Debug)]
pub struct Keymap {
    keys: BTreeMap<Action, Vec<Key>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let keys = |entry: &Entry| entry.keys.iter().filter_map(|key| Key::parse(key).ok()).collect();
        Self { keys: TABLE.iter().map(|entry| (entry.action, keys(entry))).collect() }
    }
}

impl Keymap {
    /// The table with the keys of the settings in place of its own. Fails where a key or an action is none, and where one key
    /// would mean two things in one place.
    pub fn with(settings: &BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        let mut keymap = Self::default();
        for (name, keys) in settings {
            let wanted = name.replace('_', "-");
            let entry = TABLE.iter().find(|entry| entry.name == wanted).ok_or_else(|| {
                let names: Vec<&str> = TABLE.iter().map(|entry| entry.name).collect();
                format!("there is no action `{}`; the actions are {}", crate::text::clean_line(name), names.join(", "))
            })?;
            let keys = keys.iter().map(|key| Key::parse(key)).collect::<Result<Vec<_>, _>>();
            keymap.keys.insert(entry.action, keys.map_err(|error| format!("{name}: {error}"))?);
        }
        match keymap.conflict() {
            Some((key, one, other)) => Err(format!("{key} would be `{}` and `{}` at once", one.name, other.name)),
            None => Ok(keymap),
        }
    }

    /// Two actions that one key would do in the same place.
    fn conflict(&self) -> Option<(Key, &'static Entry, &'static Entry)> {
        for (index, one) in TABLE.iter().enumerate() {
            for other in TABLE[index + 1..].iter().filter(|other| together(one.scope, other.scope)) {
                let shared = self.keys[&one.action].iter().find(|key| self.keys[&other.action].contains(key));
                if let Some(key) = shared {
                    return Some((*key, one, other));
                }
            }
        }
        None
    }

    /// What a key does where these places are, the innermost first.
    pub fn action(&self, key: Key, scopes: &[Scope]) -> Option<Action> {
        scopes.iter().find_map(|scope| {
            TABLE
                .iter()
                .filter(|entry| entry.scope == *scope)
                .find(|entry| self.keys[&entry.action].contains(&key))
                .map(|entry| entry.action)
        })
    }

    /// The keys of an action, as people write them.
    pub fn names(&self, action: Action) -> Vec<String> {
        self.keys[&action].iter().map(ToString::to_string).collect()
    }

    /// Its first key.
    pub fn name(&self, action: Action) -> String {
        self.keys[&action].first().map(ToString::to_string).unwrap_or_default()
    }
}

/// Whether keys of both places are looked at together, so that one must not hide the other by accident. The list and the open
/// task may mean different things by one key, and hide keys of the outer places on purpose.
const fn together(one: Scope, other: Scope) -> bool {
    matches!(
        (one, other),
        (Scope::Global, Scope::Global | Scope::Task)
            | (Scope::Task, Scope::Global | Scope::Task)
            | (Scope::List, Scope::List)
            | (Scope::View, Scope::View)
            | (Scope::Inbox, Scope::Inbox)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn with(pairs: &[(&str, &[&str])]) -> Result<Keymap, String> {
        Keymap::with(
            &pairs
                .iter()
                .map(|(name, keys)| ((*name).to_owned(), keys.iter().map(|k| (*k).to_owned()).collect()))
                .collect(),
        )
    }

    #[test]
    fn every_key_of_the_table_is_one_and_means_one_thing() {
        for entry in TABLE {
            for key in entry.keys {
                Key::parse(key).unwrap();
            }
            assert!(!entry.keys.is_empty() && !entry.about.is_empty(), "{}", entry.name);
        }
        let conflict = Keymap::default().conflict();
        assert!(conflict.is_none(), "{conflict:?}");
    }

    #[test]
    fn a_key_means_what_the_innermost_place_says() {
        let keymap = Keymap::default();
        let press = |code| Key::of(&KeyEvent::new(code, KeyModifiers::NONE));
        let list = [Scope::List, Scope::Task, Scope::Global];
        let view = [Scope::View, Scope::Task, Scope::Global];
        assert_eq!(keymap.action(press(KeyCode::Enter), &list), Some(Action::Open));
        assert_eq!(keymap.action(press(KeyCode::Enter), &view), Some(Action::Toggle));
        assert_eq!(keymap.action(press(KeyCode::Char('n')), &list), Some(Action::New));
        assert_eq!(keymap.action(press(KeyCode::Char('n')), &view), Some(Action::ItemNext));
        assert_eq!(keymap.action(press(KeyCode::Char('ü')), &view), None);
    }

    #[test]
    fn shift_is_part_of_the_character_however_the_terminal_says_it() {
        let shifted = KeyEvent::new(KeyCode::Char('g'), KeyModifiers::SHIFT);
        let upper = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::NONE);
        assert_eq!(Key::of(&shifted), Key::of(&upper));
        assert_eq!(Key::of(&upper), Key::parse("G").unwrap());
        let back = KeyEvent::new(KeyCode::Tab, KeyModifiers::SHIFT);
        assert_eq!(Key::of(&back), Key::parse("shift-tab").unwrap());
    }

    #[test]
    fn settings_bind_other_keys() {
        let keymap = with(&[("pause", &["P", "ctrl-s"]), ("mark_all", &["alt-a"])]).unwrap();
        assert_eq!(keymap.names(Action::Pause), ["P", "ctrl-s"]);
        assert_eq!(keymap.action(Key::parse("p").unwrap(), &[Scope::Task]), None);
        assert_eq!(keymap.action(Key::parse("alt-a").unwrap(), &[Scope::List]), Some(Action::MarkAll));
    }

    #[test]
    fn wrong_settings_are_refused_in_words() {
        insta::assert_snapshot!(with(&[("pause", &["hyper-x"])]).unwrap_err(), @"pause: `hyper-x` is no key; write it like q, G, ctrl-p, alt-x, enter, space, f5");
        insta::assert_snapshot!(with(&[("pause", &["x"])]).unwrap_err(), @"x would be `pause` and `cancel` at once");
        assert!(with(&[("paws", &["x"])]).unwrap_err().starts_with("there is no action `paws`; the actions are help,"));
    }
}
