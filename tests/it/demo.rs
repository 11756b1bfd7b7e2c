//! `cadence demo`: the main job with no account and no key.

use cadence_fakes::speech::{Reply, SpeechApi};
use nix::sys::signal::Signal;

use crate::support::TestEnv;

#[test]
fn three_agents_work_at_once_without_an_account() {
    let env = TestEnv::new();
    env.without_claude();
    let run = env.cadence(["demo"]).env_remove("ANTHROPIC_API_KEY").env_remove("ANTHROPIC_BASE_URL").run().code(0);
    assert!(run.stdout.to_lowercase().contains("demo"), "{run:?}");
    assert!(run.stdout.contains("No speech engine is set up"), "{run:?}");
    assert!(env.api.all_requests().is_empty(), "nothing was asked of a model");
}

#[test]
fn with_a_speech_engine_it_begins_with_a_spoken_sentence() {
    let env = TestEnv::new();
    let api = SpeechApi::start();
    api.reply(Reply::Text("Fix the failing test.".to_owned()));
    let demo = env.cadence(["demo"]).env_remove("ANTHROPIC_API_KEY").env_remove("ANTHROPIC_BASE_URL");
    let run = demo.env("OPENAI_BASE_URL", format!("{}/v1", api.url())).run().code(0);
    run.says("openai hears: Fix the failing test.").says("new task  Fix the failing test.");
}

#[test]
fn the_demo_agent_really_edits() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.without_claude();
    env.cadence(["run", "Fix it", "--agent", "demo"]).cwd(repo.path()).run().code(0);
    let branch = &repo.task_branches()[0];
    assert_ne!(repo.git(["rev-parse", branch]), repo.git(["rev-parse", "main"]));
}

#[test]
fn an_interrupted_demo_takes_nothing_over() {
    let env = TestEnv::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut run = env.cadence(["demo"]).env("CADENCE_DEMO_SECONDS", "60").start();
        run.wait_for("Document the commands");
        // The agents work: the command listens for signals.
        run.wait_for("▸");
        run.signal(signal);
        let done = run.finish().code(130).complains("interrupted");
        assert!(!done.stdout.contains("Taking the changes"), "{done:?}");
    }
}
