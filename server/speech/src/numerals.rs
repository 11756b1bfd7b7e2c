//! What numbers are called.

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

/// The number below twenty that a word is.
pub fn small(word: &str) -> Option<u32> {
    (0..).zip(SMALL).find(|(_, name)| *name == word).map(|(number, _)| number)
}
