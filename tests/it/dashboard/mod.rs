//! `cadence` alone at a terminal: the dashboard, as people use it. A real pseudo-terminal, keys and the mouse.

mod alone;
mod connection;
mod day;
mod hostile;
mod inbox;
mod mouse;
mod multiplexer;
mod restore;
mod sequences;

use serde_json::{Value, json};

use crate::support::{Http, Repo, Server, TOKEN, Terminal, TestEnv};

/// Ctrl-L, Ctrl-R, Ctrl-Z and Escape as terminals send them.
const REDRAW: &str = "\u{c}";
const RECONNECT: &str = "\u{12}";
const STOP: &str = "\u{1a}";
const ESCAPE: &str = "\u{1b}";

/// Column of the line between the halves, of a terminal of 100 columns and the usual split.
const BORDER: u16 = 42;

/// A machine on which answers are not spoken, and demo agents lose no time.
fn quiet() -> TestEnv {
    let env = TestEnv::new();
    env.cadence(["config", "set", "voice.speak", "off"]).run().code(0);
    env
}

/// Opens the dashboard in a repository, on the user's own server.
#[track_caller]
fn open(env: &TestEnv, repo: &Repo) -> Terminal {
    let terminal = env.terminal_with(&[("CADENCE_DEMO_SECONDS", "0")], repo.path(), []);
    terminal.wait_for("● live");
    terminal
}

/// Opens the dashboard on a server that was started by hand.
#[track_caller]
fn open_on(env: &TestEnv, server: &Server, repo: &Repo) -> Terminal {
    let file = token_file(env);
    let terminal = env.terminal(repo.path(), ["--server", server.url(), "--token-file", &file]);
    terminal.wait_for("● live");
    terminal
}

/// A file with the token of servers that are started by hand.
fn token_file(env: &TestEnv) -> String {
    let path = env.path("token");
    std::fs::write(&path, TOKEN).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// Another client starts a task of the demo agent on the user's own server, and gives its id.
#[track_caller]
fn start(env: &TestEnv, repo: &Repo, task: &str) -> String {
    let run = env.cadence(["run", task, "--agent", "demo", "--detach", "--json"]).cwd(repo.path());
    let run = run.env("CADENCE_DEMO_SECONDS", "0").run().code(0);
    run.json()["id"].as_str().unwrap().to_owned()
}

/// As [`start`], on a server that was started by hand.
#[track_caller]
fn start_on(server: &Server, repo: &Repo, task: &str) -> String {
    let body = json!({
        "taskDescription": task, "agent": "demo", "repoPath": repo.arg(),
        "environment": {"CADENCE_DEMO_SECONDS": "0", "PATH": "/usr/bin:/bin"},
    });
    let task = server.http().post("/api/tasks", &body).status(201).json();
    task["id"].as_str().unwrap().to_owned()
}

/// Ends what a story has left running.
#[track_caller]
fn cancel(http: &Http, id: &str) {
    http.delete(&format!("/api/tasks/{id}")).status(200);
    crate::support::until("the end of the task", || {
        let task: Value = http.get(&format!("/api/tasks/{id}")).status(200).json();
        task["status"] == "cancelled" && task["completedAt"].is_string()
    });
}

/// Whether the line between the halves is whole, and in its column.
fn border_is_whole(screen: &vt100::Screen, column: u16) -> bool {
    let rows = screen.size().0.get();
    (1..rows - 1).all(|row| screen.cell(row, column).is_some_and(|cell| cell.contents() == "│"))
}

/// The row of the list that has the mark of the selected task.
fn selected(screen: &vt100::Screen) -> Option<String> {
    screen.rows(0, screen.size().1.get()).find(|row| row.starts_with('▌'))
}

/// Column and row of the first place of a text, from 0. Not for text behind wide characters.
#[track_caller]
fn place(screen: &vt100::Screen, text: &str) -> (u16, u16) {
    let found = (0u16..).zip(screen.rows(0, screen.size().1.get())).find_map(|(row, line)| {
        let at = line.find(text)?;
        Some((u16::try_from(line[..at].chars().count()).unwrap(), row))
    });
    found.unwrap_or_else(|| panic!("{text:?} is not on the screen:\n{}", screen.contents()))
}
