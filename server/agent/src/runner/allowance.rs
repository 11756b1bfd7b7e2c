//! How much of what an agent says is kept: everything of any agent that works, and of one that floods so much that the disk
//! does not fill. What is left out is told. No I/O, and no clock of its own.

use std::time::Duration;

use cadence_protocol::EventData;
use tokio::time::Instant;

use crate::session::calls::size;
use crate::session::patch::{cap_to, cap_value};

/// Events of an attempt that are kept whole, and the bytes of their texts.
const EVENTS: u64 = 100_000;
const BYTES: u64 = 256 << 20;
/// After that one event in this time is kept, with each of its texts cut to so many bytes.
const EVERY: Duration = Duration::from_secs(1);
const EXCERPT: usize = 4 << 10;
/// Most bytes of an input of which only texts are cut; a larger one is many small things.
const MAX_INPUT: usize = 64 << 10;

/// What may still be kept of one attempt.
#[derive(Debug)]
pub struct Allowance {
    events: u64,
    bytes: u64,
    /// When the next event is kept although nothing is left.
    next: Option<Instant>,
    /// Events that were left out and not told of, and their bytes.
    left_out: (u64, u64),
}

impl Default for Allowance {
    fn default() -> Self {
        Self { events: EVENTS, bytes: BYTES, next: None, left_out: (0, 0) }
    }
}

impl Allowance {
    /// Gives what of an event is kept: itself, or it shortened after a word about what was left out, or nothing.
    pub fn admit(&mut self, event: EventData, now: Instant) -> Vec<EventData> {
        if !is_talk(&event) {
            return vec![event];
        }
        let bytes = weight(&event) as u64;
        if let (Some(events), Some(rest)) = (self.events.checked_sub(1), self.bytes.checked_sub(bytes)) {
            (self.events, self.bytes) = (events, rest);
            return vec![event];
        }
        // A large one that does not fit does not let small ones in after it.
        (self.events, self.bytes) = (0, 0);
        let first = self.next.is_none();
        if self.next.is_some_and(|next| now < next) {
            self.left_out = (self.left_out.0 + 1, self.left_out.1 + bytes);
            return Vec::new();
        }
        self.next = Some(now + EVERY);
        let mut kept = Vec::with_capacity(2);
        if first {
            let message = format!(
                "The agent says more than is kept: {EVENTS} events or {} MiB of one attempt. From here on one event a \
                 second is kept, and shortened.",
                BYTES >> 20
            );
            kept.push(EventData::Error { message, recoverable: true });
        }
        kept.extend(self.left_out());
        kept.push(shortened(event));
        kept
    }

    /// Tells what was left out and not told of.
    pub fn left_out(&mut self) -> Option<EventData> {
        let (events, bytes) = std::mem::take(&mut self.left_out);
        let message = format!("{events} events of the agent ({bytes} bytes) are left out here.");
        (events > 0).then_some(EventData::Error { message, recoverable: true })
    }
}

/// What an agent can say as often as it likes. The rest is bound by those that it waits for.
fn is_talk(event: &EventData) -> bool {
    matches!(
        event,
        EventData::Output { .. }
            | EventData::ToolUse { .. }
            | EventData::CommandRun { .. }
            | EventData::FileEdit { .. }
            | EventData::Progress { .. }
            | EventData::Error { recoverable: true, .. }
    )
}

/// Bytes of an event, about.
pub fn weight(event: &EventData) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let inside = match event {
        EventData::Output { text } | EventData::Message { text, .. } => text.len(),
        EventData::ToolUse { tool, input, .. } | EventData::ApprovalRequested { tool, input, .. } => {
            tool.len() + size(input)
        }
        EventData::CommandRun { command, output, .. } => command.len() + text(output),
        EventData::FileEdit { path, diff, .. } => path.len() + text(diff),
        EventData::Progress { note, .. } => text(note),
        EventData::Error { message, .. } | EventData::TaskStarted { message, .. } => message.len(),
        EventData::TaskCompleted { summary, .. } => summary.len(),
        _ => 0,
    };
    inside + size_of::<EventData>()
}

fn shortened(mut event: EventData) -> EventData {
    let cut = |text: &mut String| *text = cap_to(std::mem::take(text), EXCERPT);
    match &mut event {
        EventData::Output { text } => cut(text),
        EventData::ToolUse { input, .. } => {
            cap_value(input, EXCERPT);
            let bytes = size(input);
            if bytes > MAX_INPUT {
                *input = serde_json::json!({ "note": format!("{bytes} bytes left out") });
            }
        }
        EventData::CommandRun { command, output, .. } => {
            cut(command);
            output.iter_mut().for_each(cut);
        }
        EventData::FileEdit { path, diff, .. } => {
            cut(path);
            diff.iter_mut().for_each(cut);
        }
        EventData::Progress { note, .. } => note.iter_mut().for_each(cut),
        EventData::Error { message, .. } => cut(message),
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> EventData {
        EventData::Output { text: text.to_owned() }
    }

    fn told(event: &EventData) -> &str {
        let EventData::Error { message, recoverable: true } = event else { panic!("{event:?}") };
        message
    }

    #[test]
    fn what_is_beyond_the_allowance_is_sampled_and_told() {
        let mut allowance = Allowance { events: 2, ..Allowance::default() };
        let start = Instant::now();
        let mut admit = |after: Duration, event| allowance.admit(event, start + after);
        assert_eq!(admit(Duration::ZERO, words("1")), [words("1")]);
        assert_eq!(admit(Duration::ZERO, words("2")), [words("2")]);
        let third = admit(Duration::ZERO, words("3"));
        assert_eq!((third.len(), &third[1]), (2, &words("3")));
        assert!(told(&third[0]).starts_with("The agent says more than is kept"));
        for _ in 0..10 {
            assert_eq!(admit(EVERY / 2, words("x")), []);
        }
        let later = admit(EVERY, words(&"y".repeat(1 << 20)));
        assert!(told(&later[0]).starts_with("10 events of the agent ("), "{later:?}");
        assert!(weight(&later[1]) < 2 * EXCERPT);
        assert_eq!(later.len(), 2);
        assert_eq!(admit(EVERY, words("z")), []);
        assert!(told(&allowance.left_out().unwrap()).starts_with("1 events"));
        assert_eq!(allowance.left_out(), None);
    }

    #[test]
    fn bytes_count_too_and_what_is_waited_for_is_always_kept() {
        let mut allowance = Allowance { bytes: 1000, ..Allowance::default() };
        let now = Instant::now();
        assert_eq!(allowance.admit(words(&"x".repeat(2000)), now).len(), 2);
        assert_eq!(allowance.admit(words("y"), now), []);
        let started = EventData::TaskStarted { message: "It has started.".into(), session_id: None, model: None };
        assert_eq!(allowance.admit(started.clone(), now), [started]);
        let failed = EventData::Error { message: "no".into(), recoverable: false };
        assert_eq!(allowance.admit(failed.clone(), now), [failed]);
    }

    #[test]
    fn many_small_things_are_cut_as_well() {
        let input = serde_json::json!({ "list": vec![1; 100_000] });
        let tool = EventData::ToolUse { tool: "T".into(), input, tool_use_id: None };
        assert!(weight(&shortened(tool)) < 1000);
    }
}
