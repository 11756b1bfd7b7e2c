//! Measures cadence beside a floor or a peer, in one run on one machine, and compares with what it has to reach.
//! `make bench`; a name as argument measures that part alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod daemon;
mod dashboard;
mod events;
mod fanout;
mod floor;
mod peer;
mod picture;
mod place;
mod program;
mod restore;
mod result;
mod server;
mod terminal;
mod vocabulary;
mod voice;
mod workspace;

use std::process::ExitCode;

use result::Results;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    rustls::crypto::ring::default_provider().install_default().unwrap();
    if wanted == "picture" {
        runtime.block_on(picture::draw());
        return ExitCode::SUCCESS;
    }
    let mut results = Results::default();
    if "events".contains(&wanted) {
        runtime.block_on(events::measure(&mut results));
    }
    if "api".contains(&wanted) {
        runtime.block_on(api::measure(&mut results));
    }
    if "fanout".contains(&wanted) {
        fanout::measure(&mut results);
    }
    if "program".contains(&wanted) {
        runtime.block_on(program::measure(&mut results));
    }
    if "workspace".contains(&wanted) {
        runtime.block_on(workspace::measure(&mut results));
    }
    if "dashboard".contains(&wanted) {
        runtime.block_on(dashboard::measure(&mut results));
    }
    if "daemon".contains(&wanted) {
        daemon::measure(&mut results);
    }
    if "restore".contains(&wanted) {
        restore::measure(&mut results);
    }
    if "vocabulary".contains(&wanted) {
        vocabulary::measure(&mut results);
    }
    if "voice".contains(&wanted) {
        runtime.block_on(voice::measure(&mut results));
    }
    results.end()
}
