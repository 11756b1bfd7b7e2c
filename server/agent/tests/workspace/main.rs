//! Workspaces with real git.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod applying;
mod bundles;
mod dependencies;
mod finishing;
mod publishing;
mod remote;
mod support;
mod teardown;
#[path = "../support/mod.rs"]
mod waiting;
mod warm;

/// Stories whose workspaces are made when they are asked for.
#[path = "."]
mod made {
    mod lfs;
    mod preparing;
    mod removing;
    mod submodules;

    type Env = crate::support::Env;
}

/// The same stories, with workspaces that were prepared ahead.
#[path = "."]
#[allow(clippy::duplicate_mod)]
mod taken {
    mod lfs;
    mod preparing;
    mod removing;
    mod submodules;

    type Env = crate::support::WarmEnv;
}
