//! Wire types of cadence: what REST, WebSocket and the bridge carry.
//!
//! The package knows none of the others. JSON is camelCase, times are RFC 3339 in UTC, ids are UUIDs. With the feature
//! `openapi` every type of the REST API also describes itself for the OpenAPI document.

mod api;
mod attempt;
mod bridge;
mod bundle;
mod endpoint;
mod error;
mod event;
mod sandbox;
mod stream;
mod task;
mod usage;
mod voice;

pub use api::*;
pub use attempt::*;
pub use bridge::*;
pub use bundle::*;
pub use endpoint::*;
pub use error::*;
pub use event::*;
pub use sandbox::*;
pub use stream::*;
pub use task::*;
pub use usage::*;
pub use voice::*;

/// Time in UTC, written as RFC 3339.
pub type Timestamp = time::OffsetDateTime;
