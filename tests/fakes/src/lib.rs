//! Programs that stand in for the outside in cadence's tests.
//!
//! They listen on loopback only, and are driven by the real programs that cadence drives.
// A fake that cannot start has to stop the test with its reason.
#![allow(clippy::expect_used)]

pub mod forge;
pub mod messages;
pub mod speech;
