//! Numbers that are spoken in words.

use crate::numerals::small;

/// A number in words.
enum Part {
    /// Below ten.
    Digit(u32),
    /// From ten to nineteen.
    Teen(u32),
    Tens(u32),
    Hundred,
}

fn part(word: &str) -> Option<Part> {
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    if word == "hundred" {
        return Some(Part::Hundred);
    }
    if let Some(value) = small(word) {
        return Some(if value < 10 { Part::Digit(value) } else { Part::Teen(value) });
    }
    (2..).zip(TENS).find(|(_, tens)| *tens == word).map(|(value, _)| Part::Tens(value * 10))
}

/// The number with which these words begin, in digits, and in how many words it is said: "two five six", "sixty four" and "two hundred
/// fifty six" are one number each.
pub(super) fn number<'w>(words: impl Iterator<Item = &'w str>) -> Option<(String, usize)> {
    let (mut digits, mut taken) = (String::new(), 0);
    // What has not been written yet, and the largest value that may still be added to it.
    let (mut value, mut room): (u32, u32) = (0, 0);
    for word in words.take(8) {
        match part(word) {
            Some(Part::Digit(digit)) if room >= 9 && digit > 0 => (value, room) = (value + digit, 0),
            Some(Part::Digit(digit)) => {
                flush(&mut digits, taken, value);
                // Only one digit may be followed by "hundred".
                (value, room) = (digit, 1);
            }
            Some(Part::Teen(teen)) if room >= 99 => (value, room) = (value + teen, 0),
            Some(Part::Tens(tens)) if room >= 99 => (value, room) = (value + tens, 9),
            Some(Part::Teen(teen)) => {
                flush(&mut digits, taken, value);
                (value, room) = (teen, 0);
            }
            Some(Part::Tens(tens)) => {
                flush(&mut digits, taken, value);
                (value, room) = (tens, 9);
            }
            Some(Part::Hundred) if room == 1 && value > 0 => (value, room) = (value * 100, 99),
            Some(Part::Hundred) | None => break,
        }
        taken += 1;
    }
    flush(&mut digits, taken, value);
    (taken > 0).then_some((digits, taken))
}

fn flush(digits: &mut String, taken: usize, value: u32) {
    if taken > 0 {
        digits.push_str(&value.to_string());
    }
}

/// A digit in words.
pub(super) fn digit(digits: &str) -> Option<&'static str> {
    const WORDS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    WORDS.get(digits.parse::<usize>().ok().filter(|_| digits.len() == 1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::number;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        let table = [
            ("eight", "8", 1),
            ("two five six", "256", 3),
            ("sixty four bit", "64", 2),
            ("two hundred fifty six", "256", 4),
            ("five twelve", "512", 2),
            ("one hundred", "100", 2),
            ("thirty two", "32", 2),
            ("ten twenty four", "1024", 3),
        ];
        for (words, digits, taken) in table {
            assert_eq!(number(words.split(' ')), Some((digits.to_owned(), taken)), "{words}");
        }
        assert_eq!(number("hundred".split(' ')), None);
        assert_eq!(number("error two".split(' ')), None);
    }

    proptest! {
        #[test]
        fn any_run_of_number_words_is_read(words in proptest::collection::vec("one|two|ten|twenty|ninety|hundred|zero|nine", 0..20)) {
            if let Some((digits, taken)) = number(words.iter().map(String::as_str)) {
                prop_assert!(taken <= words.len() && digits.chars().all(|c| c.is_ascii_digit()));
            }
        }
    }
}
