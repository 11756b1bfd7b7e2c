//! Speaking in the dashboard, the whole way with sound.

use super::microphone::Microphone;
use super::recogniser::Recogniser;
use crate::support::TestEnv;

#[test]
fn a_task_is_spoken_and_another_is_shown_by_speaking_of_it() {
    let recogniser = Recogniser::of(&["fix the login page", "show me the billing one"]);
    let machine = Microphone::new();
    let env = TestEnv::new();
    let repo = env.repo("shop");
    for (name, value) in [
        ("agent", "demo"),
        ("voice.understanding.provider", "nobody"),
        ("voice.speak", "off"),
        ("voice.openai.base_url", &recogniser.url()),
    ] {
        env.cadence(["config", "set", name, value]).run().code(0);
    }
    env.cadence(["run", "--detach", "Add tests to billing"]).cwd(repo.path()).run().code(0);
    env.cadence(["tasks", "wait", "last"]).run().code(0);
    let sound = machine.server();
    let mut terminal = env.terminal_with(&[("PULSE_SERVER", sound.as_str())], repo.path(), []);
    terminal.wait_for("Add tests to billing");

    let speech = machine.speech("fix the login page");
    terminal.send(" ");
    terminal.wait_for("Space ends");
    machine.wait_recording(1);
    machine.play_whole(&speech);
    let screen = terminal.wait_for("Enter does it");
    assert!(screen.contains("new task  fix the login page"), "{screen}");
    terminal.send("\r");
    terminal.wait_for("Agent started on shop");
    terminal.wait_for("▌✓ fix the login page");

    let speech = machine.speech("show me the billing one");
    terminal.send("v");
    terminal.wait_for("Space ends");
    machine.wait_recording(1);
    machine.play_whole(&speech);
    // A question is answered at once; the task is opened where the screen has room for one alone.
    terminal.wait_for("A demo agent was asked: Add tests to billing");
    terminal.send("\u{1b}");
    terminal.wait_for("▌✓ Add tests to billing");
    terminal.send("q");
    assert_eq!(terminal.finish(), 0);
}
