//! The terminal is given back as it was: at the end, for a signal, and for a while.

use nix::sys::signal::{Signal, kill};

use super::{BORDER, REDRAW, STOP, border_is_whole, open, quiet};
use crate::support::{Terminal, children, processes, until, until_some};

/// Whether the screen is one for a shell again.
fn is_a_shells(screen: &vt100::Screen) -> bool {
    !screen.alternate_screen()
        && !screen.hide_cursor()
        && !screen.bracketed_paste()
        && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
}

#[track_caller]
fn assert_is_held(screen: &Terminal) {
    let held = screen.look(|screen| {
        screen.alternate_screen()
            && screen.hide_cursor()
            && screen.bracketed_paste()
            && screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None
    });
    assert!(held && !screen.has_its_modes(), "the dashboard has the terminal");
}

#[track_caller]
fn assert_is_given_back(screen: &Terminal) {
    assert!(screen.look(is_a_shells), "{:?}", screen.look(vt100::Screen::input_mode_formatted));
    assert!(screen.has_its_modes(), "echo, lines and signals are as before");
}

#[test]
fn the_end_gives_the_terminal_back_whatever_ended_it() {
    let env = quiet();
    let repo = env.repo("shop");
    let ends = [None, Some(Signal::SIGTERM), Some(Signal::SIGHUP), Some(Signal::SIGINT)];
    for signal in ends {
        let mut screen = open(&env, &repo);
        assert_is_held(&screen);
        match signal {
            None => screen.send("q"),
            Some(signal) => kill(screen.pid(), signal).unwrap(),
        }
        let code = screen.ended();
        assert_eq!(code, if signal.is_some() { 130 } else { 0 }, "{signal:?}");
        assert_is_given_back(&screen);
    }
}

#[test]
fn a_form_that_is_open_does_not_hold_the_terminal() {
    let env = quiet();
    let repo = env.repo("shop");
    let mut screen = open(&env, &repo);
    screen.send("n");
    screen.wait_for("what is to be done");
    kill(screen.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(screen.ended(), 130);
    assert_is_given_back(&screen);
}

#[test]
fn a_panic_is_read_on_the_screen_of_the_shell() {
    let env = quiet();
    let repo = env.repo("shop");
    let mut screen = env.terminal_with(&[("CADENCE_FAULTS", "drawing@2=panic")], repo.path(), []);
    assert_eq!(screen.ended(), 101);
    assert!(screen.raw().contains("\u{1b}[?1049h"), "the dashboard had the terminal");
    assert_is_given_back(&screen);
    let text = screen.look(vt100::Screen::contents);
    assert!(text.contains("panicked at") && text.contains("a test wants it so, at `drawing`"), "{text}");
}

#[test]
fn it_stops_for_the_shell_and_comes_back_whole() {
    let env = quiet();
    let repo = env.repo("shop");
    let mut screen = open(&env, &repo);
    // With no shell above it nobody could bring it back.
    screen.send(STOP);
    screen.wait_for("there is no shell to go to");
    // The signal is of somebody who can.
    for wide in [true, false] {
        kill(screen.pid(), Signal::SIGTSTP).unwrap();
        until("the process stops", || processes::state(screen.pid()) == 'T');
        screen.wait_until("it is the shell's", is_a_shells);
        assert!(screen.has_its_modes());
        // The window is another one when it comes back.
        screen.resize(if wide { 110 } else { 100 }, 30);
        kill(screen.pid(), Signal::SIGCONT).unwrap();
        let border = if wide { 110 * BORDER / 100 } else { BORDER };
        screen.wait_until("it is whole", |screen| {
            border_is_whole(screen, border) && screen.contents().contains("● live")
        });
        assert_is_held(&screen);
    }
    screen.send("q");
    assert_eq!(screen.ended(), 0);
    assert_is_given_back(&screen);
}

#[test]
fn a_shell_stops_it_and_fg_brings_it_back() {
    let env = quiet();
    let repo = env.repo("shop");
    let mut shell = env.shell("bash", ["--noprofile", "--norc", "-i"]);
    shell.send(&format!("PS1='> '; cd {} && cadence; echo ended with $?\r", repo.arg()));
    shell.wait_for("● live");
    shell.send(STOP);
    shell.wait_for("Stopped");
    let dashboard = until_some("the stopped program", || {
        children(shell.pid()).into_iter().map(|(pid, _)| pid).find(|pid| processes::state(*pid) == 'T')
    });
    assert!(shell.look(is_a_shells_but_for_paste), "the shell has its screen");
    shell.send("echo mean''while\r");
    shell.wait_for("meanwhile");
    shell.send("fg\r");
    shell.wait_until("it is whole", |screen| border_is_whole(screen, 200 * BORDER / 100));
    assert_ne!(processes::state(dashboard), 'T');
    shell.send("?");
    shell.wait_for("show every key");
    shell.send("qq");
    shell.wait_for("meanwhile");
    shell.send("exit 7\r");
    assert_eq!(shell.finish(), 7);
}

/// A shell turns bracketed paste on for its own line.
fn is_a_shells_but_for_paste(screen: &vt100::Screen) -> bool {
    !screen.alternate_screen() && !screen.hide_cursor()
}

#[test]
fn what_another_program_wrote_over_it_goes_with_a_key() {
    let env = quiet();
    let repo = env.repo("shop");
    let mut screen = open(&env, &repo);
    let tty = std::fs::read_link(format!("/proc/{}/fd/0", screen.pid())).unwrap();
    std::fs::write(tty, "\u{1b}[2J\u{1b}[5;5Hwall: the system goes down").unwrap();
    screen.wait_for("the system goes down");
    screen.send(REDRAW);
    screen.wait_until("it is whole", |screen| {
        border_is_whole(screen, BORDER) && !screen.contents().contains("goes down")
    });
    screen.send("q");
    assert_eq!(screen.finish(), 0);
}
