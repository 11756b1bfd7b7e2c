//! cadence: coding agents from the terminal.

mod apply;
mod checkout;
mod cli;
mod client;
mod commands;
mod complete;
mod config;
mod daemon;
mod error;
mod follow;
mod remote;
mod render;
mod speech;
mod talk;
mod terminal;
mod text;
mod tui;
mod voice;

fn main() -> std::process::ExitCode {
    cli::main()
}
