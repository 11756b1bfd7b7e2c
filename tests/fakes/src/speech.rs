//! Scripted speech APIs on loopback: one that is compatible with OpenAI's, and one like Deepgram's.

mod deepgram;
mod openai;
mod server;

pub use server::{Reply, Said, SpeechApi, SpeechRequest, Upload};

/// What is heard where no script says otherwise.
pub const SENTENCE: &str = "Add a retry to save uploaded file.";
