//! Workspaces with real git.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod applying;
mod finishing;
mod lfs;
mod preparing;
mod publishing;
mod removing;
mod submodules;
mod support;
