//! An agent that means harm, in a repository of a strange name: nothing that it says reaches the terminal but as text.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::sequences::audit;
use super::{BORDER, ESCAPE, border_is_whole, cancel, open, quiet};
use crate::support::{Terminal, TestEnv};

const TITLE: &str = "Harm\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}]0;evil\u{7} \u{9b}2J\u{202e}done\u{202c} 👩\u{200d}💻 日本語 \
                     e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301} [[fail]]";
const MARKS: usize = 1_000_000;

fn fixture() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile/stream.jsonl");
    std::fs::read_to_string(path).unwrap()
}

/// A program in the place of Claude Code that says what was recorded, leaves files behind, and waits to be ended.
fn agent(env: &TestEnv) -> PathBuf {
    let stream = env.path("stream.jsonl");
    std::fs::write(&stream, fixture().replace("@MARKS@", &"\u{301}".repeat(MARKS))).unwrap();
    let program = env.path("hostile");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo '2.1.197 (Claude Code)'\nread -r prompt\n\
         cp '{stream}' \"$(printf 'a\\033]0;evil\\007\\342\\200\\256b')\"\ncat '{stream}'\nread -r end\n",
        stream = stream.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Waits until the screen shows the text with everything in its place.
#[track_caller]
fn whole(screen: &Terminal, text: &str) {
    screen.wait_until(&format!("it is whole and shows {text:?}"), |screen| {
        let rows: Vec<String> = screen.rows(0, 100).collect();
        let head = rows[0].starts_with(" cadence ") && rows[0].trim_end().ends_with("● live");
        head && border_is_whole(screen, BORDER) && screen.contents().contains(text)
    });
}

#[test]
fn what_a_hostile_agent_says_is_only_text() {
    let env = quiet();
    let repo = env.repo("sh\u{1b}]0;evil\u{7}op\u{202e}");
    let home = env.repo("home");
    let program = agent(&env);
    let mut screen = open(&env, &home);
    let http = env.embedded();
    let body = json!({
        "taskDescription": TITLE, "agent": "claude", "repoPath": repo.arg(),
        "environment": {"CADENCE_CLAUDE": program, "PATH": "/usr/bin:/bin", "HOME": env.home()},
    });
    let task = http.post("/api/tasks", &body).status(201).json();
    let id = task["id"].as_str().unwrap();
    // The text that was coming, and the request.
    whole(&screen, "e edit first");
    screen.send("\r");
    screen.wait_for("esc back");
    screen.send("E");
    whole(&screen, "end of tabs");
    // The command as it is before it is changed.
    screen.send("e");
    screen.wait_for("Bash: change the input, as JSON");
    screen.send(ESCAPE);
    whole(&screen, "end of tabs");
    // Through all that was said, page by page, from the first to the last.
    for (pane, unfold) in [("1", ""), ("3", "E")] {
        screen.send(&format!("{pane}{unfold}g"));
        whole(&screen, "1 of ");
        while !screen.look(vt100::Screen::contents).contains("following") {
            let before = screen.look(vt100::Screen::contents);
            screen.send("\u{6}");
            screen.wait_until("it has scrolled", |screen| screen.contents() != before);
            screen.wait_until("it is whole", |screen| border_is_whole(screen, BORDER));
        }
    }
    screen.send("2");
    whole(&screen, "▾ ");
    screen.send("4");
    whole(&screen, "permission   edits");
    // A search, the clipboard, the inbox, a paste.
    screen.send("1/");
    screen.wait_for(" search ");
    screen.send("end of moves\r");
    whole(&screen, "“end of moves”");
    screen.send("c");
    screen.wait_for("copied the marked item");
    screen.send("i");
    screen.wait_for("Inbox: one request");
    screen.send(ESCAPE);
    whole(&screen, "“end of moves”");
    screen.send(":new\r");
    screen.wait_for("what is to be done");
    screen.send("\u{1b}[200~pasted \u{1b}]0;evil\u{7}\u{202e}text\u{1b}[201~");
    screen.wait_for("pasted text");
    screen.send(ESCAPE);
    whole(&screen, "“end of moves”");
    cancel(&http, id);
    whole(&screen, "cancelled");
    screen.send("q");
    assert_eq!(screen.ended(), 0);

    let raw = screen.raw();
    let asked = audit(&raw);
    let [copied] = asked.copied.as_slice() else { panic!("{:?}", asked.copied) };
    assert!(copied.contains("end of moves") && copied.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
    assert!(asked.notices.iter().any(|notice| notice.contains("needs your approval")), "{:?}", asked.notices);
    assert!(raw.len() < MARKS, "the heap of accents is not drawn: {} bytes", raw.len());
}
