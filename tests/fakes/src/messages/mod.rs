//! A scripted Anthropic Messages API on loopback.

mod gate;
mod library;
mod scenario;
mod server;
mod wire;

pub use gate::Gate;
pub use library::{SCENARIOS, scenario};
pub use scenario::{ALWAYS, Scenario, Usage};
pub use server::{MessagesApi, Recorded};
