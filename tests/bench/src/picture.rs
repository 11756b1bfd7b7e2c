//! The picture of the dashboard in the README: of the real program, with real agents. `make picture`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::place;
use crate::server::Server;
use crate::terminal::Terminal;

const FILE: &str = "tests/fixtures/pictures/dashboard.svg";
/// Size of a character in the picture.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
const COLUMNS: u16 = 132;
const ROWS: u16 = 36;

pub async fn draw() {
    let directory = place::directory();
    let home = directory.path();
    let server = Server::with_workers(home, &home.join("data"), 8);
    let repository = place::repository(home);
    for (words, permission) in [
        ("Write the release notes", "all"),
        ("Fix the failing test in user service", "all"),
        ("Upgrade the payment client\n[[fail]]", "all"),
        ("Add rate limits to the public API\n[[events 100000 6]]", "all"),
        ("Find the slow query of the report page\n[[events 100000 3]]", "all"),
        ("Drop the old table\n[[ask cargo run --bin migrate -- --drop sessions_old]]", "ask"),
    ] {
        let body = json!({
            "taskDescription": words, "agent": "demo", "repoPath": repository, "permissionMode": permission,
            "environment": {"CADENCE_DEMO_SECONDS": "0"},
        });
        server.post("/api/tasks", &body).await;
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let svg = tokio::task::block_in_place(|| {
        let mut terminal = Terminal::sized(home, &server, (COLUMNS, ROWS));
        terminal.wait("the request", |screen| screen.contents().contains("wants permission"));
        terminal.rest(Duration::from_secs(14));
        svg(terminal.picture())
    });
    std::fs::create_dir_all(Path::new(FILE).parent().unwrap()).unwrap();
    std::fs::write(FILE, svg).unwrap();
    println!("{FILE}");
}

fn color(color: vt100::Color, usual: &str) -> String {
    match color {
        vt100::Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        vt100::Color::Default | vt100::Color::Idx(_) => usual.to_owned(),
    }
}

/// A screen as an SVG: each run of characters of one look has its place, so that any font keeps the grid.
fn svg(screen: &vt100::Screen) -> String {
    let (width, height) = (f64::from(COLUMNS) * WIDTH + 24.0, f64::from(ROWS) * HEIGHT + 24.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, \
         SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"14\">\n<title>The dashboard of cadence</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#161a22\"/>\n"
    );
    for row in 0..ROWS {
        let y = 12.0 + f64::from(row) * HEIGHT;
        let mut column = 0;
        while column < COLUMNS {
            let look = |column: u16| {
                screen.cell(row, column).map(|cell| {
                    let (mut fore, mut back) = (color(cell.fgcolor(), "#d8dee9"), color(cell.bgcolor(), ""));
                    if cell.inverse() {
                        (fore, back) = ("#161a22".to_owned(), fore);
                    }
                    (fore, back, cell.bold(), cell.underline())
                })
            };
            let Some((fore, back, bold, underline)) = look(column) else { break };
            let start = column;
            let mut text = String::new();
            while column < COLUMNS && look(column).as_ref() == Some(&(fore.clone(), back.clone(), bold, underline)) {
                let cell = screen.cell(row, column).map(vt100::Cell::contents).unwrap_or_default();
                text.push_str(if cell.is_empty() { " " } else { cell });
                column += 1;
            }
            let (x, long) = (12.0 + f64::from(start) * WIDTH, f64::from(column - start) * WIDTH);
            if !back.is_empty() {
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"{HEIGHT}\" fill=\"{back}\"/>"
                );
            }
            if text.trim().is_empty() {
                continue;
            }
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let weight = if bold { " font-weight=\"bold\"" } else { "" };
            let line = if underline { " text-decoration=\"underline\"" } else { "" };
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{long:.1}\" fill=\"{fore}\" xml:space=\"preserve\"{weight}{line}>{text}</text>",
                y + 13.5
            );
        }
    }
    out + "</svg>\n"
}
