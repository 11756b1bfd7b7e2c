//! A scripted model on loopback: Anthropic's Messages API, and OpenAI's Responses and Chat Completions.

mod gate;
mod library;
mod openai;
mod scenario;
mod server;
mod wire;

pub use gate::Gate;
pub use library::{SCENARIOS, scenario};
pub use scenario::{ALWAYS, Scenario, Usage};
pub use server::{MessagesApi, Recorded};
