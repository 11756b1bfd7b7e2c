//! The backend of cadence: API, queue, events and storage behind one call, [`serve`].

pub mod backup;
mod bridge;
mod config;
pub mod events;
mod http;
pub mod queue;
pub mod results;
mod start;
pub mod state;
pub mod store;
pub mod upkeep;
pub mod verify;
mod voice;

pub use config::{BUNDLE_LIMIT, BridgeEndpoint, Exit, Face, Retention, ServeConfig, ServeError};
pub use http::openapi;
pub use start::{DataLock, agents, serve};
pub use voice::{
    MODELS as VOICE_MODELS, SET_UP_AN_ENGINE, Services as VoiceServices, VARIABLES as VOICE_VARIABLES, VoiceReload,
    hint_of as hint_of_engine,
};
