//! The scenarios that a prompt can choose by name.

use serde_json::json;

use super::{ALWAYS, Scenario, Usage};

/// Names of all built-in scenarios.
pub const SCENARIOS: &[&str] = &[
    "text",
    "edit",
    "failing-bash",
    "approval",
    "write-only",
    "many-files",
    "question",
    "gated-bash",
    "hang",
    "budget",
    "many-turns",
    "error-400",
    "error-401",
    "error-403",
    "rate-limit",
    "rate-limit-passes",
    "overloaded-passes",
    "overloaded",
    "error-500",
    "cut",
    "big-output",
    "invalid-utf8",
    "background",
    "agent-commits",
    "switches-branch",
    "no-change",
    "several-tools",
];

/// The built-in scenario of this name.
pub fn scenario(name: &str) -> Option<Scenario> {
    let s = Scenario::new();
    Some(match name {
        "text" | "no-change" => s.text("There is nothing to change."),
        "edit" => s
            .tools("I'll create the file.", [write("hello.txt", "hello world\n")])
            .edit("hello.txt", "world", "cadence")
            .bash("ls -1")
            .text("I created `hello.txt`."),
        "write-only" => s.write("hello.txt", "hello world\n").text("Written."),
        "many-files" => s
            .write("a.txt", "one\n")
            .write("src/b.txt", "two\n")
            .write("src/deep/c.txt", "three\n")
            .text("Three files."),
        "several-tools" => {
            s.tools("Both at once.", [write("one.txt", "1\n"), write("two.txt", "2\n")]).text("Two files.")
        }
        "failing-bash" => {
            s.bash("cat no-such-file").write("after.txt", "went on\n").text("The command failed; I went on.")
        }
        "approval" => s.bash("sh -c 'echo hi > made.txt'").text("Done with it."),
        "question" => s
            .tool(
                "AskUserQuestion",
                json!({"questions": [{"question": "Which database?", "header": "DB", "multiSelect": false, "options": [
                    {"label": "sqlite", "description": "a file"},
                    {"label": "postgres", "description": "a server"}]}]}),
            )
            .text("Thank you."),
        // Needs permission for everything. Goes on when somebody writes to the FIFO.
        "gated-bash" => s
            .bash("mkfifo gate && touch started && cat gate && rm gate started")
            .write("hello.txt", "after the gate\n")
            .text("Through the gate."),
        "hang" => s.hang().text("This text will never be said to its end, however long anybody waits."),
        // 0.63 dollars a step with the prices of Sonnet.
        "budget" => s.bash("echo step").usage(Usage { input: 1_000, output: 42_000, cache_read: 0 }).repeat_last(),
        "many-turns" => s.bash("echo step").repeat_last(),
        "error-400" => s.error(400, ALWAYS).text("never"),
        "error-401" => s.error(401, ALWAYS).text("never"),
        "error-403" => s.error(403, ALWAYS).text("never"),
        "error-500" => s.error(500, ALWAYS).text("never"),
        "overloaded" => s.error(529, ALWAYS).text("never"),
        "overloaded-passes" => s.error(529, 1).write("hello.txt", "hello world\n").text("Written."),
        "rate-limit" => s.rate_limit(ALWAYS, 1).text("never"),
        "rate-limit-passes" => s.rate_limit(2, 1).write("hello.txt", "hello world\n").text("Written."),
        "cut" => s.cut(1).text("All of this sentence arrives, although the stream was cut in its middle."),
        "big-output" => s.bash("head -c 40000000 /dev/zero | tr '\\0' a").text("That was much."),
        "invalid-utf8" => s.bash("printf 'ok \\377\\376 end\\n'").text("Read it."),
        "background" => s.bash("setsid sleep 3600 >/dev/null 2>&1 & echo $! > sleeper.pid").text("Left it running."),
        "agent-commits" => s
            .write("hello.txt", "hello world\n")
            .bash("git add hello.txt && git commit -q -m 'Add hello'")
            .text("Committed."),
        "switches-branch" => {
            s.bash("git switch -q -c elsewhere").write("hello.txt", "hello\n").text("On my own branch.")
        }
        _ => return None,
    })
}

fn write(path: &str, content: &str) -> (&'static str, serde_json::Value) {
    ("Write", json!({ "file_path": format!("{{cwd}}/{path}"), "content": content }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_scenario() {
        for name in SCENARIOS {
            assert!(scenario(name).is_some(), "{name}");
        }
        assert!(scenario("nonesuch").is_none());
    }
}
