//! The mouse, as terminals report it: `CSI < button ; column ; row M`, or `m` when it is let go (xterm's mode 1006).

use super::{BORDER, border_is_whole, open, place, quiet, selected, start};
use crate::support::Terminal;

const LEFT: u16 = 0;
const DRAG: u16 = 32;
const WHEEL_UP: u16 = 64;
const WHEEL_DOWN: u16 = 65;

/// Column and row from 0, as the screen has them.
fn press(screen: &mut Terminal, button: u16, at: (u16, u16)) {
    screen.send(&format!("\u{1b}[<{button};{};{}M", at.0 + 1, at.1 + 1));
}

fn click(screen: &mut Terminal, at: (u16, u16)) {
    press(screen, LEFT, at);
    screen.send(&format!("\u{1b}[<{LEFT};{};{}m", at.0 + 1, at.1 + 1));
}

#[test]
fn the_mouse_selects_scrolls_and_moves_the_border() {
    let env = quiet();
    let repo = env.repo("shop");
    let first = start(&env, &repo, "Count far [[events 200]]");
    env.cadence(["tasks", "wait", &first]).run().code(0);
    let second = start(&env, &repo, "Look around");
    env.cadence(["tasks", "wait", &second]).run().code(0);
    let mut screen = open(&env, &repo);
    screen.wait_until("the newest is selected", |screen| {
        selected(screen).is_some_and(|row| row.contains("Look around")) && screen.contents().contains("Count far")
    });

    let at = screen.look(|screen| place(screen, "Count far"));
    click(&mut screen, at);
    screen.wait_until("a click selects", |screen| selected(screen).is_some_and(|row| row.contains("Count far")));
    screen.wait_for("Event 200 of 200.");

    let body = (BORDER + 20, 15);
    for _ in 0..8 {
        press(&mut screen, WHEEL_UP, body);
    }
    screen.wait_until("the wheel scrolls", |screen| {
        let text = screen.contents();
        !text.contains("Event 200 of 200.") && text.contains("Event 190 of 200.")
    });
    for _ in 0..8 {
        press(&mut screen, WHEEL_DOWN, body);
    }
    screen.wait_for("following");

    // The names of the panes and of the tabs are buttons.
    let at = screen.look(|screen| place(screen, "Facts"));
    click(&mut screen, at);
    click(&mut screen, at);
    screen.wait_for("permission   edits");
    let at = screen.look(|screen| place(screen, "Archived"));
    click(&mut screen, at);
    screen.wait_for("Nothing was put away.");
    let at = screen.look(|screen| place(screen, "Active"));
    click(&mut screen, at);
    screen.wait_for("Look around");

    press(&mut screen, LEFT, (BORDER, 10));
    press(&mut screen, DRAG, (BORDER + 8, 10));
    press(&mut screen, DRAG, (BORDER + 13, 12));
    screen.send(&format!("\u{1b}[<{LEFT};{};13m", BORDER + 14));
    screen.wait_until("the border was dragged", |screen| border_is_whole(screen, BORDER + 13));
    screen.send("q");
    assert_eq!(screen.finish(), 0);
}
