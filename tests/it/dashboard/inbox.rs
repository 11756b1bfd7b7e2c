//! One inbox of what waits for an answer, over all tasks.

use serde_json::json;

use super::{open, quiet, start};
use crate::support::of_type;

#[test]
fn two_agents_are_answered_from_one_inbox() {
    let env = quiet();
    let repo = env.repo("shop");
    let fence = start(&env, &repo, "Paint the fence [[ask touch red.txt]]");
    env.wait_approval(&fence);
    let gate = start(&env, &repo, "Oil the gate [[ask touch oil.txt]]");
    env.wait_approval(&gate);
    let mut screen = open(&env, &repo);
    screen.wait_for("2 need you");
    screen.send("i");
    let inbox = screen.wait_for("Inbox: 2 requests");
    assert!(inbox.contains("Bash touch red.txt") && inbox.contains("Bash touch oil.txt"), "{inbox}");

    // The command is changed before it is allowed.
    screen.send("e");
    screen.wait_for("Bash: change the command");
    screen.send(" green.txt");
    screen.wait_for("touch red.txt green.txt");
    screen.send("\r");
    screen.wait_for("allowed as changed");

    // The other is refused, and told why.
    screen.wait_for("Inbox: one request");
    screen.send("d");
    screen.wait_for("deny, and tell the agent:");
    screen.send("It does not squeak");
    screen.wait_for("It does not squeak▏");
    screen.send("\r");
    screen.wait_for("denied");
    screen.send("i");
    screen.wait_for("Nothing waits for you.");
    screen.send("q");
    screen.wait_gone("Nothing waits for you.");
    env.cadence(["tasks", "wait", &fence]).run().code(0);
    env.cadence(["tasks", "wait", &gate]).run().code(5);
    let events = env.events(&fence);
    assert_eq!(of_type(&events, "command_run")[0]["command"], "touch red.txt green.txt");
    let events = env.events(&gate);
    let resolved = of_type(&events, "approval_resolved")[0];
    assert_eq!(resolved["decision"], "deny");
    let told = serde_json::to_string(&events).unwrap();
    assert!(told.contains("It does not squeak"), "{told}");
    screen.send("q");
    assert_eq!(screen.finish(), 0);
}

#[test]
fn a_question_is_answered_by_its_number() {
    let env = quiet();
    let repo = env.repo("shop");
    let id = start(&env, &repo, "Walk [[question]]");
    env.wait_approval(&id);
    let mut screen = open(&env, &repo);
    screen.wait_for("has a question");
    screen.send("i");
    screen.wait_for("Inbox: one request");
    screen.send("y");
    let asked = screen.wait_for("answer (1-2, or your own words):");
    assert!(asked.contains("Which way?") && asked.contains("2. right"), "{asked}");
    // There is no third.
    screen.send("3\r");
    screen.wait_for("3 is none of the options");
    screen.send("2\r");
    screen.wait_for("answered");
    screen.wait_for("I go this way: right.");
    screen.send("q");
    assert_eq!(screen.finish(), 0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let events = env.events(&id);
    assert_eq!(of_type(&events, "approval_resolved")[0]["answer"]["answers"], json!({"Which way?": "right"}));
}
