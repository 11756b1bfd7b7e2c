//! How words sound, roughly: enough to find a name behind what a transcriber wrote for it.
//!
//! A word becomes a string of sounds, one byte each: consonants as in a broad transcription (`X` is "sh", `C` "ch", `J` "j", `0` "th")
//! and vowels in three classes (`A`, `I` for front vowels, `U` for back ones). English spelling is followed by its commonest
//! rules only; what matters is that words that are taken for each other come out alike.

/// Words that are not said as they are spelled, and abbreviations that are said as words.
const IRREGULAR: [(&str, &str); 34] = [
    ("async", "ASINK"),
    ("auth", "A0"),
    ("busy", "BISI"),
    ("cache", "KAX"),
    ("caches", "KAXIS"),
    ("char", "KAR"),
    ("chars", "KARS"),
    ("ctrl", "KUNTRUL"),
    ("cue", "KYU"),
    ("enum", "INUM"),
    ("eye", "AI"),
    ("fn", "FANK"),
    ("get", "GIT"),
    ("give", "GIV"),
    ("gzip", "JISIP"),
    ("href", "AJRIF"),
    ("json", "JASUN"),
    ("kwargs", "KWARGS"),
    ("nginx", "INJINIKS"),
    ("of", "UV"),
    ("one", "WUN"),
    ("psql", "PISIKWIL"),
    ("queue", "KYU"),
    ("queues", "KYUS"),
    ("schema", "SKIMA"),
    ("sql", "SIKWIL"),
    ("str", "STRING"),
    ("sync", "SINK"),
    ("two", "TU"),
    ("who", "HU"),
    ("wsgi", "WISGI"),
    ("xml", "IKSIMIL"),
    ("yaml", "YAMIL"),
    ("you", "YU"),
];

/// Abbreviations with a vowel that are spelled all the same.
const SPELLED: [&str; 21] = [
    "ai", "api", "apis", "ast", "aws", "cli", "eof", "id", "ids", "io", "ip", "oid", "os", "ui", "uid", "uri", "url",
    "urls", "usb", "utf", "uuid",
];

const LETTERS: [&str; 26] = [
    "A", "BI", "SI", "DI", "I", "IF", "JI", "AJ", "AI", "JA", "KA", "IL", "IM", "IN", "U", "PI", "KYU", "AR", "IS",
    "TI", "YU", "VI", "DABLYU", "IKS", "WI", "SI",
];

const DIGITS: [&str; 10] = ["SIRU", "WUN", "TU", "0RI", "FUR", "FAIV", "SIKS", "SIVN", "AT", "NAIN"];

/// Appends the sounds of a word in lower case.
pub(super) fn say(word: &str, sounds: &mut Vec<u8>) {
    if let Ok(at) = IRREGULAR.binary_search_by_key(&word, |(irregular, _)| irregular) {
        return push(sounds, IRREGULAR[at].1);
    }
    let letters = word.as_bytes();
    let spelled = letters.len() <= 5
        && (SPELLED.binary_search(&word).is_ok()
            || letters.len() == 1 && word != "a"
            || !letters.iter().any(|&c| is_vowel(c)));
    if spelled || letters.iter().any(u8::is_ascii_digit) {
        for c in letters {
            match c {
                b'a'..=b'z' => push(sounds, LETTERS[usize::from(c - b'a')]),
                b'0'..=b'9' => push(sounds, DIGITS[usize::from(c - b'0')]),
                _ => {}
            }
        }
        return;
    }
    let mut at = 0;
    while at < letters.len() {
        at += one(letters, at, sounds);
    }
}

/// Appends the sound that is written at a place, and gives how many letters it takes.
fn one(word: &[u8], at: usize, sounds: &mut Vec<u8>) -> usize {
    let rest = &word[at..];
    let before = at.checked_sub(1).map(|before| word[before]);
    let next = rest.get(1).copied().unwrap_or(0);
    let soft = matches!(next, b'e' | b'i' | b'y');
    let starts = |text: &str| rest.starts_with(text.as_bytes());
    let (sound, taken) = match rest[0] {
        b'e' if rest.len() == 1 && at > 1 && before.is_some_and(|c| !is_vowel(c)) => ("", 1),
        // The tense: "used", but "added".
        b'e' if rest == b"ed" && at > 1 && !matches!(before, Some(b't' | b'd')) => ("", 1),
        b'u' if at == 0 && rest.len() > 2 && !is_vowel(next) && is_vowel(rest[2]) => ("YU", 1),
        c if is_vowel(c) && !(c == b'y' && at == 0 && is_vowel(next)) => {
            let run = rest.iter().take_while(|&&c| is_vowel(c) || c == b'w').count();
            let silent = run > 1 && at + run == word.len() && word[word.len() - 1] == b'e';
            return vowel(c, run - usize::from(silent && run > 2), sounds);
        }
        b'b' if rest == b"b" && before == Some(b'm') => ("", 1),
        b'c' if starts("ch") => (if matches!(rest.get(2), Some(b'r' | b'l')) { "K" } else { "C" }, 2),
        b'c' if starts("ck") => ("K", 2),
        b'c' if starts("cia") || starts("cio") => ("X", 2),
        b'c' => (if soft { "S" } else { "K" }, 1),
        b'd' if starts("dge") => ("J", 2),
        b'g' if starts("gh") => (if at == 0 { "G" } else { "" }, 2),
        b'g' if starts("gn") && (at == 0 || rest.len() == 2) => ("N", 2),
        b'g' if starts("gg") => ("G", 2),
        b'g' => (if soft && (at > 0 || next == b'e') { "J" } else { "G" }, 1),
        b'h' => (if at == 0 || before.is_some_and(is_vowel) && is_vowel(next) { "H" } else { "" }, 1),
        b'k' if starts("kn") && at == 0 => ("N", 2),
        b'n' if starts("ng") && (rest.len() == 2 || rest == b"ngs") => ("N", 2),
        b'p' if starts("ph") => ("F", 2),
        b'p' if starts("ps") && at == 0 => ("S", 2),
        b'q' => ("KW", if next == b'u' { 2 } else { 1 }),
        b's' if starts("sch") => ("SK", 3),
        b's' if starts("sh") => ("X", 2),
        b's' if starts("sc") && matches!(rest.get(2), Some(b'e' | b'i')) => ("S", 2),
        b's' if starts("sio") || starts("ssio") => ("X", if next == b's' { 3 } else { 2 }),
        b't' if starts("tch") => ("C", 3),
        b't' if starts("th") => ("0", 2),
        b't' if starts("tio") || starts("tia") => ("X", 2),
        b'w' if starts("wr") && at == 0 => ("R", 2),
        b'w' if starts("wh") => ("W", 2),
        b'x' => (if at == 0 { "S" } else { "KS" }, 1),
        b'z' => ("S", 1),
        c
        @ (b'b' | b'd' | b'f' | b'j' | b'k' | b'l' | b'm' | b'n' | b'p' | b'r' | b's' | b't' | b'v' | b'w' | b'y') => {
            sounds.push(c.to_ascii_uppercase());
            return 1 + usize::from(next == c);
        }
        _ => ("", 1),
    };
    push(sounds, sound);
    taken
}

fn vowel(first: u8, run: usize, sounds: &mut Vec<u8>) -> usize {
    sounds.push(match first {
        b'a' => b'A',
        b'o' | b'u' => b'U',
        _ => b'I',
    });
    run.max(1)
}

fn push(sounds: &mut Vec<u8>, text: &str) {
    sounds.extend_from_slice(text.as_bytes());
}

const fn is_vowel(c: u8) -> bool {
    matches!(c, b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

const fn is_vowel_sound(sound: u8) -> bool {
    matches!(sound, b'A' | b'I' | b'U')
}

/// What remains of sounds when those are left out and put together that are most often taken for each other: the consonants, voiced
/// and voiceless ones as one, without glides, and none twice in a row.
pub(super) fn skeleton(sounds: &[u8], skeleton: &mut Vec<u8>) {
    skeleton.clear();
    for &sound in sounds {
        let class = class(sound);
        if class != 0 && skeleton.last() != Some(&class) {
            skeleton.push(class);
        }
    }
}

/// The class of consonants to which a sound belongs; 0 for vowels and glides.
const fn class(sound: u8) -> u8 {
    match sound {
        b'P' | b'B' => b'P',
        b'T' | b'D' | b'0' => b'T',
        b'K' | b'G' => b'K',
        b'F' | b'V' => b'F',
        b'S' | b'X' | b'C' | b'J' => b'S',
        b'M' | b'N' => b'N',
        b'L' => b'L',
        b'R' => b'R',
        _ => 0,
    }
}

/// How far two strings of sounds are apart: 0 for the same, about 1 for each consonant that is not in the other.
pub(super) fn distance(a: &[u8], b: &[u8]) -> f32 {
    let mut row: Vec<f32> = Vec::with_capacity(b.len() + 1);
    row.push(0.0);
    for (at, &sound) in b.iter().enumerate() {
        row.push(row[at] + alone(sound));
    }
    for &from in a {
        let mut diagonal = row[0];
        row[0] += alone(from);
        for (at, &to) in b.iter().enumerate() {
            let instead = diagonal + instead(from, to);
            diagonal = row[at + 1];
            row[at + 1] = instead.min(diagonal + alone(from)).min(row[at] + alone(to));
        }
    }
    row[b.len()]
}

/// What a sound costs that only one of two strings has.
const fn alone(sound: u8) -> f32 {
    match sound {
        b'A' | b'I' | b'U' => 0.3,
        b'H' | b'Y' | b'W' => 0.4,
        b'R' => 0.6,
        b'T' | b'D' => 0.75,
        _ => 0.9,
    }
}

/// What one sound costs in place of another.
const fn instead(a: u8, b: u8) -> f32 {
    if a == b {
        0.0
    } else if is_vowel_sound(a) && is_vowel_sound(b) {
        0.2
    } else if is_vowel_sound(a) || is_vowel_sound(b) {
        1.0
    } else if class(a) != 0 && class(a) == class(b) {
        0.35
    } else if matches!(
        (a, b),
        (b'0', b'F' | b'S')
            | (b'F' | b'S', b'0')
            | (b'V', b'B' | b'W')
            | (b'B' | b'W', b'V')
            | (b'L' | b'W', b'R')
            | (b'R', b'L' | b'W')
    ) {
        0.6
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::{IRREGULAR, SPELLED, distance, say, skeleton};
    use proptest::prelude::*;

    fn sounds(words: &str) -> Vec<u8> {
        let mut sounds = Vec::new();
        for word in words.split(' ') {
            say(word, &mut sounds);
        }
        sounds
    }

    #[test]
    fn tables_are_sorted() {
        assert!(IRREGULAR.is_sorted_by_key(|(word, _)| *word));
        assert!(SPELLED.is_sorted());
    }

    #[test]
    fn what_is_taken_for_each_other_sounds_alike() {
        let table = [
            ("cash", "cache"),
            ("a sink", "async"),
            ("e num", "enum"),
            ("jason", "json"),
            ("right", "write"),
            ("bite", "byte"),
            ("fast defy", "fastify"),
            ("use affect", "use effect"),
            ("to pull", "tuple"),
            ("red is", "redis"),
            ("cue", "queue"),
            ("car", "char"),
            ("sequel", "sql"),
            ("you u i d", "uuid"),
        ];
        for (heard, said) in table {
            let (heard_sounds, said_sounds) = (sounds(heard), sounds(said));
            let length = heard_sounds.len().max(said_sounds.len()) as f32;
            let apart = distance(&heard_sounds, &said_sounds) / length;
            assert!(
                apart <= 0.25,
                "{heard} {said}: {apart} {:?} {:?}",
                String::from_utf8(heard_sounds),
                String::from_utf8(said_sounds)
            );
        }
        for (one, other) in [("use effect", "user name"), ("error", "value"), ("parse", "print")] {
            let (one, other) = (sounds(one), sounds(other));
            assert!(distance(&one, &other) / one.len().max(other.len()) as f32 > 0.25);
        }
    }

    proptest! {
        #[test]
        fn any_word_can_be_said(word in "\\PC{0,20}") {
            let (mut sounds, mut bones) = (Vec::new(), Vec::new());
            say(&word.to_lowercase(), &mut sounds);
            skeleton(&sounds, &mut bones);
            prop_assert!(bones.len() <= sounds.len());
            prop_assert!(distance(&sounds, &sounds) < f32::EPSILON);
        }
    }
}
