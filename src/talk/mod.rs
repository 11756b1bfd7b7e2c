//! A conversation with the agents by voice: what is heard, understood, done and answered. `cadence voice` and the dashboard
//! hold it.

pub mod hearing;
pub mod session;
pub mod tell;
pub mod view;
pub mod watch;
