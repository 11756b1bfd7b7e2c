//! From what is said to what is meant. It begins with how code sounds: an identifier as the words that people speak.

mod spoken;

pub use spoken::spoken;
