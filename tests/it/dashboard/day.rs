//! A day in the dashboard, from an empty list to the end of work.

use super::{BORDER, ESCAPE, border_is_whole, open, quiet, selected, start};
use crate::support::{Terminal, of_type};

/// Types a word at the line at the bottom, which shows it, and enters it.
#[track_caller]
fn enter_line(screen: &mut Terminal, name: &str, words: &str) {
    screen.send("/");
    screen.wait_for(&format!(" {name} "));
    screen.send(words);
    screen.wait_for(&format!(" {name} {words}"));
    screen.send("\r");
}

#[test]
fn a_whole_day_at_the_dashboard() {
    let env = quiet();
    let repo = env.repo("shop");
    let mut screen = open(&env, &repo);
    screen.wait_for("Nothing to do.");

    // A task is written. The agent asks, and is allowed.
    screen.send("n");
    screen.wait_for("what is to be done");
    screen.send("Tidy the shop [[ask touch one.txt]] [[ask touch two.txt]]\t\t\u{1b}[C\u{1b}[C\u{1b}[C\u{1b}[C\r");
    screen.wait_for("? Bash wants permission");
    screen.wait_until("the request and its keys are there", |screen| {
        let text = screen.contents();
        ["y allow", "command: touch one.txt", "1 needs you"].iter().all(|part| text.contains(part))
    });
    screen.send("y");
    screen.wait_for("$ touch two.txt");

    // It is stopped in the middle of the second request, and asks again when it goes on.
    screen.send("p");
    screen.wait_for("paused: Tidy the shop");
    screen.wait_until("the request is taken back", |screen| {
        let text = screen.contents();
        text.contains("r resume") && !text.contains("y allow")
    });
    screen.send("r");
    screen.wait_for("y allow");

    // Something more is wanted of it.
    screen.send("m");
    screen.wait_for("Message to Tidy the shop");
    screen.send("Count, too [[events 3]]\r");
    screen.wait_for("the agent is told");
    screen.send("y");
    screen.wait_for("Event 3 of 3.");
    screen.wait_for("w apply");
    assert_eq!(repo.show(&repo.task_branches()[0], "two.txt"), "");

    // What another client starts is there by itself.
    start(&env, &repo, "Paint the fence");
    screen.wait_for("Paint the fence");

    // A filter works as it is typed.
    screen.send("/");
    screen.wait_for(" filter ");
    screen.send("fence");
    screen.wait_until("only the fence is left", |screen| {
        let text = screen.contents();
        text.contains("“fence”: 1 task") && !text.contains("Tidy the shop")
    });
    screen.send(ESCAPE);
    screen.wait_for("Tidy the shop");
    enter_line(&mut screen, "filter", "tidy");
    screen.wait_until("the task is open", |screen| screen.contents().contains("Event 3 of 3."));

    // A search in the task, then its diff.
    screen.send("\r");
    screen.wait_for("esc back");
    enter_line(&mut screen, "search", "event 2");
    screen.wait_for("“event 2” · J next, K back");
    screen.send(ESCAPE);
    screen.wait_gone("“event 2”");
    screen.send("2");
    let diff = screen.wait_for("▾ cadence-demo.md");
    assert!(diff.contains("A demo agent was asked: Tidy the shop"), "{diff}");

    // A small window has one half at a time, a large one both again.
    screen.resize(60, 15);
    screen.wait_until("the task has the whole window", |screen| {
        let rows: Vec<String> = screen.rows(0, 60).collect();
        rows[1].contains("Tidy the shop") && rows[14].contains("esc back") && !border_is_whole(screen, 25)
    });
    screen.send(ESCAPE);
    screen.wait_until("the list has it", |screen| selected(screen).is_some_and(|row| row.contains("Tidy the shop")));
    screen.resize(100, 30);
    screen.wait_until("both are there", |screen| {
        border_is_whole(screen, BORDER) && screen.contents().contains("▾ cadence-demo.md")
    });

    // The look is kept: tab, selection, split.
    screen.send(ESCAPE);
    screen.wait_gone("“tidy”");
    screen.send("2>");
    screen.wait_until("the border moved", |screen| border_is_whole(screen, BORDER + 4));
    let row = screen.look(selected).unwrap();
    assert!(row.contains("Tidy the shop"), "{row}");
    screen.send("q");
    assert_eq!(screen.ended(), 0);
    assert!(screen.look(|screen| !screen.alternate_screen() && !screen.hide_cursor()));

    let mut screen = open(&env, &repo);
    screen.wait_until("it looks as it was left", |screen| {
        let tab = super::place(screen, "Review");
        let review = screen.cell(tab.1, tab.0).is_some_and(vt100::Cell::underline);
        let same = selected(screen).is_some_and(|row| row.contains("Tidy the shop"));
        review && same && border_is_whole(screen, BORDER + 4)
    });
    screen.send("q");
    assert_eq!(screen.finish(), 0);
    let tasks = env.embedded().get("/api/tasks").status(200).json();
    for task in tasks["tasks"].as_array().unwrap() {
        assert_eq!(task["status"], "completed", "{task:#}");
        let events = env.events(task["id"].as_str().unwrap());
        assert_eq!(of_type(&events, "task_completed").len(), 1);
    }
}
