//! `cadence-fakes messages --port 0 --scenario edit`: the scripted services, for use by hand.

use std::process::ExitCode;

use cadence_fakes::messages::{MessagesApi, SCENARIOS};

const USAGE: &str = "usage: cadence-fakes messages [--port PORT] [--scenario NAME]

Serves a scripted Anthropic Messages API on 127.0.0.1 until it is stopped. A prompt chooses its script with
[[scenario:NAME]]; --scenario is for prompts that choose none.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("messages") {
        return usage();
    }
    let (mut port, mut scenario) = (0, None);
    while let Some(flag) = arguments.next() {
        match (flag.as_str(), arguments.next()) {
            ("--port", Some(value)) => match value.parse() {
                Ok(number) => port = number,
                Err(_) => return usage(),
            },
            ("--scenario", Some(value)) => scenario = Some(value),
            _ => return usage(),
        }
    }
    let api = match MessagesApi::start_on(port) {
        Ok(api) => api,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    api.forget_requests();
    if let Some(name) = scenario {
        if !SCENARIOS.contains(&name.as_str()) {
            eprintln!("there is no scenario `{name}`; there are {}", SCENARIOS.join(", "));
            return ExitCode::from(2);
        }
        api.default_scenario(&name);
    }
    println!("ANTHROPIC_BASE_URL={}", api.url());
    loop {
        std::thread::park();
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}\n\nscenarios: {}", SCENARIOS.join(", "));
    ExitCode::from(2)
}
