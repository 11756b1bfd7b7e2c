//! End-to-end stories: the built program, the real Claude Code CLI, real repositories, a scripted model on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fakes;
mod support;
