//! Small pure helpers for text that people read: durations, money, sizes, and text from outside made safe to print.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Reads `30s`, `10m`, `2h`, `1h30m` or plain seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write it like 30s, 10m or 1h30m");
    let text_trimmed = text.trim();
    if let Ok(seconds) = text_trimmed.parse::<u64>() {
        return positive(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut number = String::new();
    for character in text_trimmed.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let value: u64 = number.parse().map_err(|_| wrong())?;
        number.clear();
        let part = value.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    if !number.is_empty() {
        return Err(wrong());
    }
    positive(total)
}

fn positive(duration: Duration) -> Result<Duration, String> {
    if duration.is_zero() { Err("a duration must be longer than nothing".to_owned()) } else { Ok(duration) }
}

/// `4s`, `1m 05s`, `2h 03m`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{:.1}s", duration.as_secs_f64()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// US dollars, in cents from a cent on.
pub fn money(usd: f64) -> String {
    cadence_protocol::dollars(usd)
}

/// `1 file`, `2 files`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `3.4 GB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = size as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{size} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A point in time as people here read it, to the second.
pub fn moment(when: time::OffsetDateTime) -> String {
    moment_in(when, jiff::tz::TimeZone::system())
}

fn moment_in(when: time::OffsetDateTime, zone: jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_second(when.unix_timestamp()) {
        Ok(at) => at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        // Nothing of ours is from before the year -9999.
        Err(_) => when.to_string(),
    }
}

/// Columns that the text takes in a terminal.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Cuts to `max` columns, with `…` where something is left out.
pub fn cut(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut columns = 0;
    for character in text.chars() {
        let next = character.width().unwrap_or(0);
        if columns + next > max.saturating_sub(1) {
            break;
        }
        columns += next;
        short.push(character);
    }
    short.push('…');
    short
}

/// Makes text from outside safe to print: no escape sequences, no control characters but line ends and tabs, and none
/// of the characters that turn the direction of text. A carriage return that overwrites a line keeps what would be seen.
pub fn clean(text: &str) -> String {
    let stripped = strip_escapes(text);
    let mut out = String::with_capacity(stripped.len());
    for (index, line) in stripped.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        let seen = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
        out.extend(seen.chars().filter(|c| *c == '\t' || printable(*c)));
    }
    out
}

/// As [`clean`], but shows what it would take out, escaped: for what a person decides on, where nothing may be hidden.
pub fn reveal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.replace("\r\n", "\n").chars() {
        if matches!(character, '\n' | '\t') || printable(character) {
            out.push(character);
        } else {
            out.extend(character.escape_default());
        }
    }
    out
}

/// As [`clean`], on one line: line ends become spaces.
pub fn clean_line(text: &str) -> String {
    let clean = clean(text);
    let words: Vec<&str> = clean.split_whitespace().collect();
    words.join(" ")
}

/// Whether a terminal shows it, and does nothing else with it.
pub fn printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn strip_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(character) = chars.next() {
        let introducer = match character {
            '\u{1b}' => match chars.next() {
                Some(next) => next,
                None => break,
            },
            // The same introducers as single C1 characters.
            '\u{9b}' => '[',
            '\u{9d}' => ']',
            '\u{90}' => 'P',
            '\u{98}' => 'X',
            '\u{9e}' => '^',
            '\u{9f}' => '_',
            _ => {
                out.push(character);
                continue;
            }
        };
        match introducer {
            // Control sequence: parameters, then one final byte.
            '[' => {
                while let Some(next) = chars.peek() {
                    if !(' '..='~').contains(next) {
                        break;
                    }
                    let last = ('@'..='~').contains(next);
                    chars.next();
                    if last {
                        break;
                    }
                }
            }
            // Strings: up to BEL or ST. One that never ends is cut at the end of its line, so that it cannot hide the rest.
            ']' | 'P' | 'X' | '^' | '_' => {
                while let Some(next) = chars.peek().copied() {
                    if next == '\n' {
                        break;
                    }
                    chars.next();
                    if next == '\u{7}' || next == '\u{9c}' {
                        break;
                    }
                    if next == '\u{1b}' {
                        chars.next_if_eq(&'\\');
                        break;
                    }
                }
            }
            // Intermediate bytes, then one final byte (as in `ESC ( B`).
            ' '..='/' => {
                while chars.next_if(|next| (' '..='/').contains(next)).is_some() {}
                chars.next_if(|next| ('0'..='~').contains(next));
            }
            '\n' => out.push('\n'),
            _ => {}
        }
    }
    out
}

/// How long, in one unit.
pub fn age(duration: time::Duration) -> String {
    let seconds = duration.whole_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_in_the_time_of_the_place() {
        let when = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        assert_eq!(moment_in(when, jiff::tz::TimeZone::UTC), "2023-11-14 22:13:20 UTC");
        let tokyo = jiff::tz::TimeZone::posix("JST-9").unwrap_or(jiff::tz::TimeZone::UTC);
        assert_eq!(moment_in(when, tokyo), "2023-11-15 07:13:20 JST");
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("45"), Ok(Duration::from_secs(45)));
        for wrong in ["", "0", "0s", "m", "10x", "-5s", "5m3", "99999999999999999999h", "18446744073709551615h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_written() {
        assert_eq!(duration(Duration::from_millis(400)), "0.4s");
        assert_eq!(duration(Duration::from_secs(59)), "59s");
        assert_eq!(duration(Duration::from_secs(65)), "1m 05s");
        assert_eq!(duration(Duration::from_secs(7380)), "2h 03m");
    }

    #[test]
    fn money_and_sizes() {
        assert_eq!(money(0.0), "$0.00");
        assert_eq!(money(0.0042), "$0.0042");
        assert_eq!(money(1.5), "$1.50");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(3_400_000_000), "3.4 GB");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
    }

    #[test]
    fn escape_sequences_are_taken_out() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m"), "red");
        assert_eq!(clean("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(clean("\u{1b}]52;c;aGk=\u{1b}\\text"), "text");
        assert_eq!(clean("\u{1b}Pq#0;2\u{1b}\\x"), "x");
        assert_eq!(clean("\u{9b}2Jx\u{9d}0;t\u{9c}y"), "xy");
        assert_eq!(clean("a\u{1b}(Bb"), "ab");
        assert_eq!(clean("a\u{8}\u{7}\u{0}b\u{7f}"), "ab");
        assert_eq!(clean("a\u{202e}b\u{61c}c"), "abc");
        assert_eq!(clean("\u{1b}]never ends\nnext"), "\nnext");
        assert_eq!(clean("end\u{1b}"), "end");
    }

    #[test]
    fn nothing_hides_from_who_decides() {
        assert_eq!(reveal("rm -rf x\rls\u{1b}[2K\u{202e}\nnext\r\n"), "rm -rf x\\rls\\u{1b}[2K\\u{202e}\nnext\n");
    }

    #[test]
    fn carriage_returns_leave_what_would_be_seen() {
        assert_eq!(clean("10%\r50%\r100%\r\ndone\r\n"), "100%\ndone\n");
    }

    #[test]
    fn long_text_is_cut_by_columns() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello!", 5), "hell…");
        assert_eq!(cut("日本語テキスト", 7), "日本語…");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>()) {
            let safe = clean(&text);
            prop_assert!(safe.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
        }
    }
}
