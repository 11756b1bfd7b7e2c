//! How much each piece of evidence weighs.
//!
//! Weights of three logistic regressions (ridge 2) on the tuning part of the sentences that tests/fixtures/speech/README.md tells of: each
//! candidate of a sentence is a case, and the odds are those of its being meant.

use super::evidence::FEATURES;

/// For one word, for several with the letters of a name, and for words that sound like a name.
#[rustfmt::skip]
pub(super) static WEIGHTS: [[f32; 3]; FEATURES] = [
    [ -5.15,  -0.18,  -0.86], // always
    [  0.00,   0.00,  -5.50], // one word
    [  0.00,  -0.26,  -0.55], // two words
    [  0.00,   0.48,   0.88], // three words
    [  0.26,  -0.32,  -1.47], // letters, as a logarithm
    [ -0.92,  -0.52,   0.83], // how common the rarest word is
    [ -1.16,  -0.64,  -1.66], // a word that prose does not have
    [  0.92,   0.82,   0.72], // bits of surprise, tens
    [  0.92,   0.30,   3.94], // bits of surprise, tens, for each word
    [  0.00,  -0.14,  -0.29], // share of pairs that prose has
    [  0.00,  -0.92,  -1.74], // two words that prose has as a pair
    [ -0.74,  -0.66,  -1.22], // prose has the first after the word before
    [ -1.31,  -0.92,  -1.82], // prose has the word after it after the last
    [ -0.76,   0.39,  -1.80], // first holds sentences together
    [ -0.76,   0.99,  -1.33], // last holds sentences together
    [  0.00,   0.13,   0.35], // one within holds sentences together
    [  0.78,   1.30,   0.36], // first is a verb
    [  0.00,  -0.70,  -2.21], // first is a verb, where a command has one
    [ -0.25,   0.53,   0.64], // first is a verb, and a determiner follows
    [ -0.04,  -0.14,  -0.10], // ends like a plural
    [  0.00,  -1.08,  -0.74], // hyphens
    [ -1.32,  -0.28,   0.09], // capitals within a sentence
    [  0.00,   0.44,   0.00], // signs were spoken
    [ -0.31,  -0.04,   0.00], // taken for what it is taken for often
    [ -0.85,  -4.16,  -0.19], // a longer name has these words and more
    [ -2.27,  -4.18,  -4.60], // rank among the names, as a logarithm
    [  0.97,   3.34,  -0.27], // as many words as the name has
    [  1.85,   1.66,   1.01], // a cue announces such a name
    [  0.00,   0.00,  -2.54], // how far the sound is away
    [  0.00,   0.00,   3.57], // share of the words of the name that were heard
    [  0.00,   0.00,  -1.10], // words too many or too few
    [ -0.40,   0.40,   0.17], // before it an edge
    [  0.95,  -0.23,   0.49], // before it a determiner
    [  0.46,   0.61,   0.76], // before it a preposition
    [ -0.62,   0.92,   0.64], // before it "to"
    [ -0.54,  -1.36,  -1.82], // before it an auxiliary
    [  1.67,   0.93,   0.82], // before it a particle
    [ -1.35,  -1.06,  -0.87], // before it a cue
    [ -0.45,   0.29,   0.15], // before it a verb
    [  0.29,  -0.48,  -0.34], // before it another word
    [  0.11,  -0.25,   0.07], // after it an edge
    [  0.01,  -0.59,  -1.10], // after it a determiner
    [ -0.73,  -0.06,   0.05], // after it a preposition
    [ -0.25,   0.49,   0.15], // after it "to"
    [  1.87,   0.30,   0.63], // after it an auxiliary
    [ -0.65,   0.74,   0.44], // after it a particle
    [ -0.35,  -0.24,  -0.10], // after it a cue
    [  0.29,  -0.17,   0.21], // after it a verb
    [ -0.29,  -0.22,  -0.34], // after it another word
];
