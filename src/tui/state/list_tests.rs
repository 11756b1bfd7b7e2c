#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::tui::samples::{NOW, id, task};

fn list(tasks: impl IntoIterator<Item = Task>) -> List {
    let mut list = List::default();
    for task in tasks {
        put(&mut list, task);
    }
    list
}

fn put(list: &mut List, task: Task) {
    list.put(task, NOW);
    list.tidy();
}

fn order(list: &List) -> Vec<u128> {
    list.shown().map(|id| id.as_u128() & 0xff).collect()
}

#[test]
fn what_needs_a_person_comes_first() {
    let list = list([
        task(1, "a", "completed", json!({})),
        task(2, "b", "pending", json!({})),
        task(3, "c", "pr_open", json!({})),
        task(4, "d", "running", json!({})),
        task(5, "e", "failed", json!({})),
        task(6, "f", "waiting", json!({"waitingFor": "answer"})),
        task(7, "g", "waiting", json!({"waitingFor": "rate_limit"})),
        task(8, "h", "running", json!({})),
    ]);
    // Of the same kind the newest; a limit needs nobody.
    assert_eq!(order(&list), [6, 5, 8, 7, 4, 3, 2, 1]);
    assert_eq!(list.needing(), 1);
}

#[test]
fn the_selection_stays_with_its_task() {
    let mut list = list((1..=5).map(|n| task(n, "x", "running", json!({}))));
    assert_eq!(order(&list), [5, 4, 3, 2, 1]);
    list.select(id(3));
    put(&mut list, task(1, "x", "waiting", json!({"waitingFor": "approval", "lastSeq": 4})));
    assert_eq!(order(&list), [1, 5, 4, 3, 2]);
    assert_eq!(list.selected(), Some(id(3)));
    // Gone from here, its neighbour is selected.
    put(&mut list, task(3, "x", "completed", json!({"lastSeq": 5, "archivedAt": "2026-01-01T10:00:00Z"})));
    assert_eq!(list.selected(), Some(id(2)));
    list.step(9);
    assert_eq!(list.selected(), Some(id(2)));
    list.step(-9);
    assert_eq!(list.selected(), Some(id(1)));
}

#[test]
fn tabs_and_words_choose() {
    let mut list = list([
        task(1, "Fix the login", "completed", json!({"metadata": {"filesChanged": 1}})),
        task(2, "Look around", "completed", json!({"metadata": {"filesChanged": 0}})),
        task(3, "Fix the logout", "pr_open", json!({})),
        task(4, "Old", "completed", json!({"archivedAt": "2026-01-01T10:00:00Z"})),
    ]);
    assert_eq!(order(&list), [3, 2, 1]);
    list.tab = Tab::Review;
    list.arrange();
    assert_eq!(order(&list), [3, 1]);
    list.filter = "LOGIN fix".into();
    list.arrange();
    assert_eq!(order(&list), [1]);
    assert!(list.reveal(id(4)));
    assert_eq!((list.tab, list.selected()), (Tab::Archived, Some(id(4))));
    assert!(!list.reveal(id(9)));
}

#[test]
fn groups_keep_the_order_of_what_needs_a_person() {
    let mut list = list([
        task(1, "a", "running", json!({"repoName": "api"})),
        task(2, "b", "waiting", json!({"repoName": "web"})),
        task(3, "c", "completed", json!({"repoName": "web"})),
    ]);
    list.grouped = true;
    list.arrange();
    let repository = |name: &str| Entry::Repository(name.into());
    let wanted = [repository("web"), Entry::Task(id(2)), Entry::Task(id(3)), repository("api"), Entry::Task(id(1))];
    assert_eq!(list.entries(), wanted);
    list.select(id(2));
    list.scroll_to_selected(3, 2);
    assert_eq!(list.top, 0, "the heading is seen with its first task");
}

#[test]
fn several_are_marked() {
    let mut list = list((1..=4).map(|n| task(n, "x", "running", json!({}))));
    assert_eq!(list.targets(), [id(4)]);
    list.toggle_mark();
    list.select(id(2));
    list.toggle_mark();
    assert_eq!(list.targets(), [id(4), id(2)]);
    list.toggle_all();
    assert_eq!(list.marked.len(), 4);
    list.toggle_all();
    assert_eq!(list.targets(), [id(2)]);
}

#[test]
fn an_older_snapshot_changes_nothing() {
    let mut list = list([task(1, "x", "completed", json!({"lastSeq": 9}))]);
    let older = task(1, "x", "running", json!({"lastSeq": 5, "updatedAt": "2026-01-01T10:00:00Z"}));
    put(&mut list, older);
    assert_eq!(list.get(id(1)).unwrap().task.status, TaskStatus::Completed);
}

#[test]
fn the_activity_line_fades() {
    let mut list = list([task(1, "x", "running", json!({"lastSeq": 1}))]);
    put(&mut list, task(1, "x", "running", json!({"lastSeq": 11})));
    let row = list.get(id(1)).unwrap();
    assert_eq!(row.levels(NOW), [0, 0, 0, 0, 0, 0, 0, 10]);
    assert_eq!(row.levels(NOW + time::Duration::seconds(4)), [0, 0, 0, 0, 0, 10, 0, 0]);
    assert_eq!(row.levels(NOW + time::Duration::hours(4)), [0; 8]);
    assert_eq!(row.levels(NOW - time::Duration::hours(4)), [0, 0, 0, 0, 0, 0, 0, 10], "a clock that jumps");
}

#[test]
fn the_view_goes_along_with_the_selection() {
    let mut list = list((1..=30).map(|n| task(n, "x", "running", json!({}))));
    list.step(isize::MAX);
    list.scroll_to_selected(10, 2);
    assert_eq!(list.top, 25);
    list.step(-3);
    list.scroll_to_selected(10, 2);
    assert_eq!(list.top, 25);
    list.step(isize::MIN);
    list.scroll_to_selected(10, 2);
    assert_eq!(list.top, 0);
    list.scroll_to_selected(0, 2);
}
