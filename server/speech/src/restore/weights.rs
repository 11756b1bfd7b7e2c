//! How much each piece of evidence weighs.
//!
//! Weights of three logistic regressions (ridge 2) on the tuning part of the sentences that tests/fixtures/speech/README.md tells of: each
//! candidate of a sentence is a case, and the odds are those of its being meant. What is always there was raised for several words as far as
//! the tuning part had no more than 2 % of the sentences of other projects changed.

use super::evidence::FEATURES;

/// For one word, for several with the letters of a name, and for words that sound like a name.
#[rustfmt::skip]
pub(super) static WEIGHTS: [[f32; 3]; FEATURES] = [
    [ -5.82,   0.69,  -0.56], // always
    [ -0.00,   0.00,  -1.63], // one word
    [  0.00,  -0.48,   0.57], // two words
    [  0.00,   0.71,   1.07], // three words
    [  0.55,  -0.57,  -0.45], // letters, as a logarithm
    [ -0.73,   0.03,   0.49], // how common the rarest word is
    [ -0.27,  -0.33,  -0.90], // a word that prose does not have
    [  0.72,   0.69,   1.01], // bits of surprise, tens
    [  0.72,   0.03,   0.04], // bits of surprise, tens, for each word
    [  0.00,  -0.79,  -1.11], // share of pairs that prose has
    [  0.00,  -0.36,  -0.31], // two words that prose has as a pair
    [ -0.55,  -0.98,  -0.51], // prose has the first after the word before
    [ -0.44,  -0.39,  -0.88], // prose has the word after it after the last
    [ -0.35,   0.30,  -0.21], // first holds sentences together
    [ -0.35,   0.38,  -0.49], // last holds sentences together
    [  0.00,   0.14,  -0.31], // one within holds sentences together
    [  0.21,   1.17,   0.04], // first is a verb
    [  0.00,  -0.19,  -0.86], // first is a verb, where a command may have one
    [  0.00,  -0.48,  -0.53], // first is a verb, where a command has one, and no verb follows
    [ -0.59,   0.20,  -0.62], // ends like a plural
    [  0.00,  -0.50,   0.57], // hyphens
    [ -0.70,  -0.63,  -0.10], // capitals within a sentence
    [  0.00,  -0.03,   0.00], // signs were spoken
    [ -0.11,   0.78,   0.00], // taken for what it is taken for often
    [ -0.33,  -3.20,  -0.26], // a longer name has these words and more
    [ -0.24,  -0.53,  -1.27], // rank among the names, as a logarithm
    [  0.48,   2.11,   1.64], // as many words as the name has
    [  1.25,   1.08,   0.73], // a cue announces such a name
    [  0.00,   0.00,  -1.90], // how far the sound is away
    [  0.00,   0.00,   2.85], // share of the words of the name that were heard
    [  0.00,   0.00,   0.72], // words too many or too few
    [  0.00,   0.00,  -0.85], // how far the sound of what was misheard is away
    [  1.44,  -0.67,  -0.38], // a name with an underscore before it, or a path
    [  0.00,   0.61,   0.03], // last is a cue
    [  0.00,  -0.70,  -0.70], // last is a cue, and what is before it is a name
    [  0.00,  -0.81,  -0.51], // an underscore before it, and a name without the last
    [  0.00,   0.07,  -1.68], // the words without the first are a name
    [  0.00,  -0.33,  -0.82], // the same, and the first holds sentences together
    [ -0.62,   0.05,  -0.30], // a longer name sounds very much like these words and more
    [  0.00,   0.00,   0.01], // a name has some of these words, and others
    [  0.00,   0.17,   0.75], // all but the first in capitals
    [  0.00,   0.00,  -2.10], // what was misheard is one word that holds sentences together
    [  0.00,   0.00,  -0.69], // what was misheard has a very common word
    [  0.00,   0.00,   0.82], // a word with another ending
    [  0.00,   0.00,  -0.40], // letters of the name, as a logarithm
    [  0.00,   0.00,   1.54], // how sure it would be had its words been heard, tens
    [  0.00,  -1.06,   0.00], // first holds sentences together, and a word of content is before it
    [ -0.53,   0.10,   0.28], // before it an edge
    [  0.30,  -0.21,   0.49], // before it a determiner
    [ -0.24,   0.56,   0.44], // before it a preposition
    [ -0.12,   0.60,   0.60], // before it "to"
    [ -0.13,  -0.56,  -0.93], // before it an auxiliary
    [  1.16,   0.60,   0.11], // before it a particle
    [ -0.76,  -0.91,  -0.50], // before it a cue
    [  0.22,   0.22,   0.29], // before it a verb
    [  0.08,  -0.41,  -0.77], // before it another word
    [  0.40,  -0.38,   0.09], // after it an edge
    [ -0.07,  -0.09,  -0.58], // after it a determiner
    [ -0.13,  -0.15,   0.13], // after it a preposition
    [ -0.13,   0.36,   0.50], // after it "to"
    [ -0.08,   0.38,   0.34], // after it an auxiliary
    [ -0.12,   0.71,  -0.10], // after it a particle
    [ -0.39,  -0.48,   0.29], // after it a cue
    [  0.71,  -0.16,  -0.39], // after it a verb
    [ -0.19,  -0.18,  -0.28], // after it another word
];
