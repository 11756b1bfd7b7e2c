//! End-to-end stories: the built program, the real Claude Code CLI, real repositories, a scripted model on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod approvals;
mod bridge;
mod budget;
mod chaos;
mod clients;
mod clock;
mod codex;
mod completion;
mod conversation;
mod daemon;
mod dashboard;
mod demo;
mod disk;
mod fakes;
mod flood;
mod hostile;
mod isolation;
mod limits;
mod opencode;
mod recovery;
mod remote;
mod repositories;
mod run;
mod scripts;
mod server;
mod stopping;
mod storage;
mod stream;
mod support;
mod take;
#[cfg(target_os = "linux")]
mod voice;
mod warm;
mod words;
