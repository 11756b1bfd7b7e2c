//! What a conversation looks like.

use super::session::{Listening, Review, State, targeted};
use crate::render::{BOLD, CYAN, DIM, GREEN, Line, PLAIN, RED, YELLOW};
use crate::speech;
use crate::text::clean_line;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Frames of what is waited for.
const SPINNER: [&str; 4] = ["◐", "◓", "◑", "◒"];

/// How it is spoken: what the keys do depends on the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The terminal tells when a key is let go.
    pub hold: bool,
    pub frame: usize,
}

/// The lines below all that was said before.
pub fn lines(state: &State, look: Look) -> Vec<Line> {
    match state {
        State::Ready if look.hold => vec![Line::of(DIM, "Hold Space and speak · q leaves")],
        State::Ready => vec![Line::of(DIM, "Space, and speak · q leaves")],
        State::Listening(listening) => listening_lines(listening, look),
        State::Transcribing => waiting("listening back", look),
        State::Reading(_) => waiting("reading", look),
        State::Doing => waiting("on its way", look),
        State::Review(review) => {
            let mut lines = review_lines(review, true);
            lines.push(Line::of(DIM, "Enter does it · Esc drops it · or change the words"));
            lines
        }
        State::Asking(review) => {
            let mut lines = review_lines(review, false);
            let question = if targeted(&review.parsed.command) { "Really? y, n" } else { "Which one? its number, n" };
            lines.push(Line::of(YELLOW, "? ").add(PLAIN, question));
            lines
        }
    }
}

fn waiting(what: &str, look: Look) -> Vec<Line> {
    vec![Line::of(CYAN, SPINNER[look.frame % SPINNER.len()]).add(DIM, format!(" {what}"))]
}

fn listening_lines(listening: &Listening, look: Look) -> Vec<Line> {
    let bar = |level: f32| BARS[((level * BARS.len() as f32) as usize).min(BARS.len() - 1)];
    let meter: String = listening.levels.iter().map(|level| bar(*level)).collect();
    let color = if listening.clipped { RED } else { GREEN };
    let ends = if look.hold { "let go to end" } else { "Space ends" };
    let mut line = Line::of(RED, "● ").add(color, meter).add(DIM, format!(" {:.1} s · {ends}", listening.seconds));
    if listening.clipped {
        line = line.add(YELLOW, " · too loud");
    }
    let mut lines = vec![line];
    if !listening.interim.is_empty() {
        lines.push(Line::of(DIM, "  ").add(PLAIN, clean_line(&listening.interim)));
    }
    lines
}

fn review_lines(review: &Review, editable: bool) -> Vec<Line> {
    let (text, at) = (review.text.value(), review.text.cursor());
    let sentence = if editable { with_cursor(text, at) } else { Line::of(BOLD, text) };
    let mut lines = vec![sentence.after(Line::of(CYAN, "› "))];
    let unchanged = text.trim() == review.parsed.command.transcript.trim();
    if unchanged {
        lines.extend(speech::plan(&review.parsed, &review.tasks).into_iter().map(|line| line.indent(2)));
    }
    lines
}

fn with_cursor(text: &str, at: usize) -> Line {
    let before: String = text.chars().take(at).collect();
    let under: String = text.chars().skip(at).take(1).collect();
    let after: String = text.chars().skip(at + 1).collect();
    let under = if under.is_empty() { " ".to_owned() } else { under };
    Line::of(BOLD, before).add(BOLD.invert(), under).add(BOLD, after)
}
