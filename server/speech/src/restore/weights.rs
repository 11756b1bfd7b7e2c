//! How much each piece of evidence weighs.
//!
//! Weights of three logistic regressions (ridge 2) on the tuning part of the sentences that tests/fixtures/speech/README.md tells of: each
//! candidate of a sentence is a case, and the odds are those of its being meant.

use super::evidence::FEATURES;

/// For one word, for several with the letters of a name, and for words that sound like a name.
#[rustfmt::skip]
pub(super) static WEIGHTS: [[f32; 3]; FEATURES] = [
    [ -5.63,   0.41,   2.62], // always
    [  0.00,   0.00,  -5.61], // one word
    [  0.00,  -0.28,  -0.57], // two words
    [  0.00,   0.48,   1.13], // three words
    [  0.35,  -0.33,  -0.90], // letters, as a logarithm
    [ -1.03,  -0.57,   0.62], // how common the rarest word is
    [ -1.21,  -0.67,  -1.79], // a word that prose does not have
    [  1.03,   0.81,   0.86], // bits of surprise, tens
    [  1.03,   0.30,   1.15], // bits of surprise, tens, for each word
    [  0.00,  -0.17,  -1.44], // share of pairs that prose has
    [  0.00,  -0.90,  -1.03], // two words that prose has as a pair
    [ -0.64,  -0.67,  -1.32], // prose has the first after the word before
    [ -1.10,  -0.92,  -1.49], // prose has the word after it after the last
    [ -0.63,   0.36,  -1.12], // first holds sentences together
    [ -0.63,   0.97,  -0.82], // last holds sentences together
    [  0.00,   0.13,   0.20], // one within holds sentences together
    [  0.96,   1.30,   0.76], // first is a verb
    [  0.00,  -0.72,  -1.73], // first is a verb, where a command may have one
    [  0.00,  -0.08,  -0.46], // first is a verb, where a command has one, and no verb follows
    [ -1.09,  -0.17,  -0.18], // ends like a plural
    [  0.00,  -1.08,  -0.32], // hyphens
    [ -1.23,  -0.28,   0.14], // capitals within a sentence
    [  0.00,   0.44,   0.00], // signs were spoken
    [ -0.26,  -0.03,   0.00], // taken for what it is taken for often
    [ -0.53,  -4.17,  -1.51], // a longer name has these words and more
    [ -1.87,  -4.63,  -4.62], // rank among the names, as a logarithm
    [  1.05,   3.32,   1.04], // as many words as the name has
    [  1.78,   1.59,   1.04], // a cue announces such a name
    [  0.00,   0.00,  -3.53], // how far the sound is away
    [  0.00,   0.00,   0.57], // share of the words of the name that were heard
    [  0.00,   0.00,  -0.68], // words too many or too few
    [ -0.35,   0.40,   0.45], // before it an edge
    [  1.04,  -0.23,   0.94], // before it a determiner
    [  0.51,   0.61,   0.88], // before it a preposition
    [ -0.63,   0.94,   0.80], // before it "to"
    [ -0.48,  -1.54,  -1.54], // before it an auxiliary
    [  1.77,   0.93,   0.51], // before it a particle
    [ -1.22,  -0.99,  -1.03], // before it a cue
    [ -0.27,   0.30,   0.50], // before it a verb
    [ -0.36,  -0.42,  -1.49], // before it another word
    [  0.25,  -0.25,   0.39], // after it an edge
    [ -0.08,  -0.53,  -1.19], // after it a determiner
    [ -0.66,  -0.09,   0.35], // after it a preposition
    [ -0.21,   0.47,   0.46], // after it "to"
    [  1.92,   0.32,   0.55], // after it an auxiliary
    [ -0.55,   0.73,   0.29], // after it a particle
    [ -0.63,  -0.26,   0.02], // after it a cue
    [  0.32,  -0.20,  -0.46], // after it a verb
    [ -0.35,  -0.19,  -0.42], // after it another word
];
