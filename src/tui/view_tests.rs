#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::json;

use super::super::message::{Message, Why};
use super::super::samples::*;
use super::super::state::{Pane, State};
use super::super::theme::{Depth, ThemeName};
use super::draw;
use crate::client::Item;
use crate::error::{CommandError, Exit};

fn screen(state: &State) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(state.size.0, state.size.1)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal
}

fn text(state: &State) -> String {
    let screen = screen(state);
    let buffer = screen.backend().buffer();
    let rows = (0..buffer.area.height).map(|y| {
        let mut row = String::new();
        let mut skip = 0;
        for x in 0..buffer.area.width {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skip = crate::text::width(symbol).saturating_sub(1);
            row.push_str(symbol);
        }
        row.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// The colours of each row, where they change.
fn colours(state: &State) -> String {
    let screen = screen(state);
    let buffer = screen.backend().buffer();
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut last = None;
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let look = (cell.fg, cell.bg, cell.modifier);
            if last != Some(look) {
                out.push_str(&format!("{y}:{x} {:?} on {:?} {:?}\n", cell.fg, cell.bg, cell.modifier));
                last = Some(look);
            }
        }
    }
    out
}

/// A day with the first task open and its events there.
fn opened(size: (u16, u16)) -> State {
    opened_in(state(size))
}

fn opened_in(mut state: State) -> State {
    day(&mut state);
    state.list.reveal(id(1));
    super::super::update::open_selected(&mut state);
    let result = Ok((transcript(id(1)), 12));
    happens(&mut state, Message::Page { task: id(1), after: 0, why: Why::Show, result });
    state
}

fn with_diff(size: (u16, u16)) -> State {
    let mut state = opened(size);
    press(&mut state, "enter 2");
    let diff = "diff --git a/src/a.rs b/src/a.rs\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,2 +1,2 @@ fn main\n keep\n-old\n+new\n\
                diff --git a/日本.md b/日本.md\n--- /dev/null\n+++ b/日本.md\n@@ -0,0 +1 @@\n+👩\u{200d}💻 text\n";
    happens(&mut state, Message::Diff { task: id(1), result: Ok((super::super::state::parse_diff(diff), false)) });
    state
}

#[test]
fn a_day_side_by_side() {
    insta::assert_snapshot!(text(&opened((140, 36))));
}

#[test]
fn a_day_on_the_usual_terminal() {
    insta::assert_snapshot!(text(&opened((80, 24))));
}

#[test]
fn a_day_on_the_smallest_terminal() {
    let mut state = opened((60, 15));
    insta::assert_snapshot!("list", text(&state));
    press(&mut state, "enter");
    insta::assert_snapshot!("open", text(&state));
}

#[test]
fn panes() {
    let mut state = with_diff((110, 26));
    insta::assert_snapshot!("diff", text(&state));
    press(&mut state, "E");
    insta::assert_snapshot!("diff_folded", text(&state));
    press(&mut state, "3");
    insta::assert_snapshot!("events", text(&state));
    press(&mut state, "4 z");
    insta::assert_snapshot!("facts", text(&state));
}

#[test]
fn groups_and_marks_and_filter() {
    let mut state = opened((100, 24));
    press(&mut state, "b s s / \"a\"");
    insta::assert_snapshot!(text(&state));
}

#[test]
fn overlays() {
    let mut state = opened((100, 30));
    for (name, keys) in [
        ("help", "?"),
        ("palette", "esc : \"pa\""),
        ("new", "esc n \"Make it faster\" alt-enter \"and smaller\" tab tab"),
        ("message", "esc m \"also the other one\""),
        ("inbox", "esc i"),
        ("refusal", "d \"no\""),
        ("edit", "esc e"),
        ("confirm", "esc x"),
    ] {
        press(&mut state, keys);
        insta::assert_snapshot!(name, text(&state));
    }
}

#[test]
fn speaking() {
    use crate::talk::session::Message as Said;
    let mut state = opened((100, 24));
    press(&mut state, "space");
    for level in [0.1, 0.5, 0.9, 0.3] {
        happens(&mut state, Message::Voice(Said::Level(level, false, 1.4)));
    }
    happens(&mut state, Message::Voice(Said::Interim("fix the flaky".into())));
    insta::assert_snapshot!(text(&state));
}

#[test]
fn the_connection_is_said_in_words() {
    let mut state = opened((100, 16));
    let lost = Message::Stream(Item::Lost { reason: "connection refused".into(), wait: std::time::Duration::ZERO });
    happens(&mut state, lost);
    state.now += time::Duration::seconds(75);
    let rows = text(&state);
    assert!(rows.lines().next().unwrap().ends_with("1 needs you  ○ reconnecting, 1m 15s"), "{rows}");
    assert!(rows.ends_with("○ no connection: connection refused  agents go on"), "{rows}");
    let mut state = super::super::samples::state((100, 16));
    let error = CommandError::new(Exit::NotAllowed, "the server does not let this token in")
        .hint("Give a token of this server with --token-file or CADENCE_TOKEN.");
    happens(&mut state, Message::Stream(Item::Failed(error)));
    insta::assert_snapshot!(text(&state));
}

#[test]
fn a_search_shows_what_was_found() {
    let mut state = opened((110, 24));
    press(&mut state, "enter / \"flaky\" enter");
    let shown = text(&state);
    assert!(shown.contains("“flaky” · J next, K back"), "{shown}");
    let screen = screen(&state);
    let found = super::super::theme::Theme::style(&state.theme, super::Role::Found).bg.unwrap();
    let marked = screen.backend().buffer().content().iter().filter(|cell| cell.bg == found).count();
    assert_eq!(marked, "flaky".len());
}

#[test]
fn themes() {
    for (name, theme, depth) in [
        ("dark", ThemeName::Dark, Depth::True),
        ("light_256", ThemeName::Light, Depth::Indexed),
        ("high_contrast", ThemeName::HighContrast, Depth::True),
        ("terminal_16", ThemeName::Terminal, Depth::Ansi),
        ("no_color", ThemeName::Dark, Depth::None),
    ] {
        let state = opened_in(themed((100, 20), theme, depth));
        insta::assert_snapshot!(name, colours(&state));
    }
    let state = opened_in(themed((100, 20), ThemeName::Dark, Depth::None));
    let screen = screen(&state);
    assert!(screen.backend().buffer().content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

/// Whatever the text, each character stays in its columns: the border is where it is in every row.
fn grid_is_whole(state: &State) -> Result<(), String> {
    let screen = screen(state);
    let buffer = screen.backend().buffer();
    let border = state.layout().border;
    for y in (border.top()..border.bottom()).filter(|_| border.width > 0) {
        let symbol = buffer[(border.x, y)].symbol();
        if symbol != "│" {
            return Err(format!("row {y} has {symbol:?} in the place of the border"));
        }
    }
    for cell in buffer.content() {
        if cell.symbol().chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)) {
            return Err(format!("{:?} would be obeyed", cell.symbol()));
        }
    }
    Ok(())
}

#[test]
fn strange_scripts_keep_their_columns() {
    let mut state = state((120, 24));
    let texts = [
        "日本語 テキスト 한국어",
        "שלום עולם عربي \u{202e}drawrof",
        "👩\u{200d}👩\u{200d}👧 👍\u{1f3fd} 🏳\u{fe0f}\u{200d}🌈 1\u{fe0f}\u{20e3}",
        "a\u{301}\u{302}\u{303}\u{304} zalgo",
        "\u{1b}[31mred\u{1b}]0;x\u{7} \u{9b}2J \u{0} \u{7f}",
    ];
    tell(
        &mut state,
        texts.iter().zip(1..).map(|(text, number)| task(number, text, "running", json!({"branch": text}))),
    );
    super::super::update::open_selected(&mut state);
    let first = state.list.selected().unwrap();
    let events = texts.iter().zip(1..).map(|(text, seq)| words(first, seq, text)).collect();
    happens(&mut state, Message::Page { task: first, after: 0, why: Why::Show, result: Ok((events, 5)) });
    grid_is_whole(&state).unwrap();
    insta::assert_snapshot!(text(&state));
}

proptest! {
    #[test]
    fn no_text_and_no_size_break_it(
        title in any::<String>(), words_of in "\\PC{0,200}", branch in any::<String>(), columns in 1u16..200, rows in 1u16..60,
        keys in prop::collection::vec(prop::sample::select(vec!["down", "enter", "2", "3", "4", "z", "?", "i", "n", "esc", "tab",
            "/", "b", ">", "pagedown", "J", "E", "x", "m", "space", ":", "]", "end"]), 0..12),
    ) {
        let mut state = state((columns, rows));
        day(&mut state);
        tell(&mut state, [task(1, &title, "waiting", json!({"branch": branch, "waitingFor": "approval", "lastSeq": 20}))]);
        let events = (1..=20).map(|seq| words(id(1), seq, &words_of)).collect();
        happens(&mut state, Message::Page { task: id(1), after: 0, why: Why::Show, result: Ok((events, 20)) });
        for key in keys {
            press(&mut state, key);
            let _ = screen(&state);
        }
        press(&mut state, "esc esc esc");
        state.overlay = None;
        let drawn = columns >= super::LEAST.0 && rows >= super::LEAST.1;
        if let Err(error) = if drawn { grid_is_whole(&state) } else { Ok(()) } {
            prop_assert!(false, "{}", error);
        }
        let _ = Pane::ALL;
    }
}
