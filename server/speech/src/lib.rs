//! From what is said to what is meant.
//!
//! Audio becomes text ([`engine`]) with the help of what the repository calls things ([`vocabulary`]); identifiers that were
//! spoken in words are written as code again ([`restore`]); and what the text wants is read from it ([`intent`]).

pub mod audio;
pub mod engine;
pub mod intent;
mod numerals;
pub mod restore;
pub mod settings;
mod spoken;
pub mod vocabulary;

pub use settings::Settings;
pub use spoken::spoken;
