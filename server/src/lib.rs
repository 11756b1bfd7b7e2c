//! The backend of cadence: API, queue, events and storage behind one call, [`serve`].

mod config;
pub mod events;
mod http;
pub mod queue;
mod start;
pub mod state;
pub mod store;
pub mod verify;

pub use config::{Exit, ServeConfig, ServeError};
pub use http::openapi;
pub use start::serve;
