//! What a program writes to a terminal, taken apart: text, and the control sequences that the dashboard makes itself.

use std::iter::Peekable;
use std::str::Chars;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use unicode_width::UnicodeWidthChar;

/// Private modes that are set and reset: cursor, alternate screen, mouse, bracketed paste, synchronized output.
const MODES: [&str; 9] = ["25", "1049", "1000", "1002", "1003", "1006", "1015", "2004", "2026"];
/// Characters without a width that may follow each other: accents, of which a letter has a few.
const MOST_MARKS: usize = 8;

/// What the dashboard asked of the terminal beside drawing.
#[derive(Debug, Default)]
pub struct Asked {
    /// Texts that were put on the clipboard.
    pub copied: Vec<String>,
    /// Sentences that the desktop was to show.
    pub notices: Vec<String>,
}

/// Takes everything apart that was written.
///
/// # Panics
/// At the first thing that is not the dashboard's own.
pub fn audit(raw: &str) -> Asked {
    let mut asked = Asked::default();
    let mut chars = raw.chars().peekable();
    let mut marks = 0;
    while let Some(character) = chars.next() {
        if character == '\u{1b}' {
            match chars.next() {
                Some('[') => control(&mut chars),
                Some(']') => command(&mut chars, &mut asked),
                other => panic!("ESC {other:?} was written"),
            }
            continue;
        }
        assert!(!character.is_control(), "{character:?} was written as text");
        assert!(!turns(character), "{character:?} was written as text: it turns what follows");
        marks = if character.width() == Some(0) { marks + 1 } else { 0 };
        assert!(marks <= MOST_MARKS, "a heap of {character:?} was written into one place");
    }
    asked
}

/// Characters that change the direction of the text around them (UAX #9).
fn turns(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A control sequence after `CSI` (ECMA-48, 5.4): parameters, and the character that ends it.
fn control(chars: &mut Peekable<Chars<'_>>) {
    let mut parameters = String::new();
    while let Some(next) = chars.next_if(|next| (' '..='?').contains(next)) {
        parameters.push(next);
    }
    let end = chars.next();
    let plain = parameters.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'));
    let own = match (end, parameters.strip_prefix('?')) {
        // Colours, the place of the cursor, the whole screen cleared, and "what are you?".
        (Some('m' | 'H'), None) => plain,
        (Some('J'), None) => parameters == "2",
        (Some('c'), None) => parameters.is_empty(),
        (Some('h' | 'l'), Some(mode)) => MODES.contains(&mode),
        // Whether the keyboard tells of releases.
        (Some('u'), Some("")) => true,
        _ => false,
    };
    assert!(own, "CSI {parameters} {end:?} was written");
}

/// An operating system command after `OSC`, up to BEL or ST.
fn command(chars: &mut Peekable<Chars<'_>>, asked: &mut Asked) {
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('\u{7}') => break,
            Some('\u{1b}') if chars.next_if_eq(&'\\').is_some() => break,
            Some(next) if !next.is_control() && !turns(next) => text.push(next),
            other => panic!("{other:?} was written within OSC {text}"),
        }
    }
    match text.split_once(';') {
        Some(("0" | "2", "cadence")) => {}
        Some(("9", words)) => asked.notices.push(words.to_owned()),
        Some(("777", words)) => assert!(words.starts_with("notify;cadence;"), "OSC {text}"),
        Some(("52", words)) => {
            let encoded = words.strip_prefix("c;").unwrap_or_else(|| panic!("OSC {text}"));
            asked.copied.push(String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap());
        }
        _ => panic!("OSC {text} was written"),
    }
}

#[test]
fn what_is_not_its_own_is_found() {
    let own = "\u{1b}[?1049h\u{1b}]0;cadence\u{7}\u{1b}[?u\u{1b}[c\u{1b}[2J\u{1b}[1;5H\u{1b}[38;5;4mé日\u{1b}[0m\
               \u{1b}]9;cadence: x\u{7}\u{1b}]777;notify;cadence;x\u{7}\u{1b}]52;c;aGk=\u{7}\u{1b}[?1049l";
    let asked = audit(own);
    assert_eq!((asked.copied, asked.notices), (vec!["hi".to_owned()], vec!["cadence: x".to_owned()]));
    let heap = format!("a{}", "\u{301}".repeat(9));
    for foreign in [
        "\u{1b}]0;mine\u{7}",
        "\u{1b}]8;;http://x\u{7}",
        "\u{1b}]52;c;?\u{7}",
        "\u{1b}[3J",
        "\u{1b}[6n",
        "\u{1b}[?1h",
        "\u{1b}c",
        "\u{1b}Pq\u{1b}\\",
        "\u{9b}2J",
        "\u{7}",
        "\n",
        "\0",
        "a\u{202e}b",
        &heap,
    ] {
        assert!(std::panic::catch_unwind(|| audit(foreign)).is_err(), "{foreign:?}");
    }
}
