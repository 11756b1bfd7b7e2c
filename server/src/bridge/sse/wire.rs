//! A stream of server-sent events, read piece by piece (WHATWG HTML, "Interpreting an event stream"). Pure, and bounded
//! whatever the other side sends, which readers that are made for servers one trusts are not.

/// Most bytes of one event that are kept; a larger one is passed over, and told.
const MAX_EVENT: usize = 4 * 1024 * 1024;
/// Longest id that is kept, in bytes: it is sent back in a header.
const MAX_ID: usize = 1024;

const MIN_LINE: usize = 64;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Empty where the stream does not name it.
    pub event: String,
    pub data: String,
    /// The id that this event itself brought.
    pub id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Message(Message),
    /// A line that says nothing but that the other side is there.
    Comment,
    /// An event that was larger than is kept; its id, where that came in time.
    TooLarge(Option<String>),
}

/// What was read of a stream so far.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The line is longer than is kept.
    cut: bool,
    /// A line feed that comes now belongs to the end of the line before.
    after_cr: bool,
    /// Something came before, so that there is no byte order mark any more.
    begun: bool,
    message: Message,
    has_data: bool,
    too_large: bool,
}

impl Parser {
    /// Reads on. A message that its stream breaks off is none.
    pub fn push(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        let mut rest = bytes;
        while let Some((&first, after)) = rest.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = after;
                continue;
            }
            match rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                Some(end) => {
                    self.keep(&rest[..end]);
                    self.after_cr = rest[end] == b'\r';
                    items.extend(self.end_of_line());
                    rest = &rest[end + 1..];
                }
                None => {
                    self.keep(rest);
                    return;
                }
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        // A name is read in any case: a line of which nothing is kept would look like the end of the event.
        let most = MAX_EVENT.saturating_sub(self.message.data.len()).max(MIN_LINE);
        let room = most.saturating_sub(self.line.len());
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_of_line(&mut self) -> Option<Item> {
        let line = std::mem::take(&mut self.line);
        self.too_large |= std::mem::take(&mut self.cut);
        let text = String::from_utf8_lossy(&line);
        let text = match std::mem::replace(&mut self.begun, true) {
            true => &text,
            false => text.strip_prefix('\u{feff}').unwrap_or(&text),
        };
        if text.is_empty() {
            return self.dispatch();
        }
        if text.starts_with(':') {
            return Some(Item::Comment);
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                let is_first = !std::mem::replace(&mut self.has_data, true);
                if self.message.data.len() + value.len() >= MAX_EVENT {
                    self.too_large = true;
                } else {
                    self.message.data.push_str(if is_first { "" } else { "\n" });
                    self.message.data.push_str(value);
                }
            }
            "event" => self.message.event = value.chars().take(100).collect(),
            // The id goes into a header of the next request.
            "id" if value.len() <= MAX_ID && !value.chars().any(char::is_control) => {
                self.message.id = Some(value.to_owned());
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Item> {
        let message = std::mem::take(&mut self.message);
        let (has_data, too_large) = (std::mem::take(&mut self.has_data), std::mem::take(&mut self.too_large));
        match (too_large, has_data) {
            (true, _) => Some(Item::TooLarge(message.id)),
            (false, true) => Some(Item::Message(message)),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        Parser::default().push(bytes, &mut items);
        items
    }

    fn message(event: &str, data: &str, id: Option<&str>) -> Item {
        Item::Message(Message { event: event.into(), data: data.into(), id: id.map(str::to_owned) })
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        assert_eq!(read(b"data: YHOO\ndata: +2\ndata: 10\n\n"), [message("", "YHOO\n+2\n10", None)]);
        let four = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        let expected = [
            Item::Comment,
            message("", "first event", Some("1")),
            message("", "second event", Some("")),
            message("", " third event", None),
        ];
        assert_eq!(read(four), expected);
        assert_eq!(read(b"data\n\ndata\ndata\n\ndata:"), [message("", "", None), message("", "\n", None)]);
        assert_eq!(read(b"\xef\xbb\xbfevent: add\rdata: 7\r\n\r\nretry: 9\n\n"), [message("add", "7", None)]);
    }

    #[test]
    fn what_is_too_large_is_passed_over_and_the_next_is_read() {
        let mut parser = Parser::default();
        let mut items = Vec::new();
        parser.push(b"id: 4\ndata: ", &mut items);
        for _ in 0..80 {
            parser.push(&[b'x'; 100_000], &mut items);
            assert!(parser.line.len() <= MAX_EVENT);
        }
        parser.push(b"\n\ndata: small\n\n", &mut items);
        assert_eq!(items, [Item::TooLarge(Some("4".into())), message("", "small", None)]);
        // Many lines are no way around.
        items.clear();
        for _ in 0..50 {
            parser.push(&[b"data: ", &[b'y'; 100_000][..], b"\n"].concat(), &mut items);
            assert!(parser.message.data.len() <= MAX_EVENT);
        }
        parser.push(b"\n", &mut items);
        assert_eq!(items, [Item::TooLarge(None)]);
    }

    #[test]
    fn an_id_that_no_header_can_hold_is_none() {
        assert_eq!(read(b"id: a\x01b\ndata: x\n\n"), [message("", "x", None)]);
        let long = [b"id: ", &[b'1'; MAX_ID + 1][..], b"\ndata: x\n\n"].concat();
        assert_eq!(read(&long), [message("", "x", None)]);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference_and_nothing_panics(
            bytes in prop::collection::vec(prop_oneof![
                Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), any::<u8>()
            ], 0..300),
            cuts in prop::collection::vec(1usize..20, 0..40),
        ) {
            let whole = read(&bytes);
            let mut parser = Parser::default();
            let (mut items, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                parser.push(piece, &mut items);
                rest = after;
            }
            parser.push(rest, &mut items);
            prop_assert_eq!(items, whole);
        }

        #[test]
        fn what_was_written_is_read(
            all in prop::collection::vec(("[a-z_]{1,9}", "[^\r\0]{0,80}", prop::option::of(1u64..1000)), 0..10),
            end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
        ) {
            let mut text = String::new();
            let mut expected = Vec::new();
            for (event, data, id) in &all {
                text.push_str(&format!("event: {event}{end}"));
                if let Some(id) = id {
                    text.push_str(&format!("id: {id}{end}"));
                }
                for line in data.split('\n') {
                    text.push_str(&format!("data: {line}{end}"));
                }
                text.push_str(end);
                expected.push(message(event, data, id.map(|id| id.to_string()).as_deref()));
            }
            prop_assert_eq!(read(text.as_bytes()), expected);
        }
    }
}
