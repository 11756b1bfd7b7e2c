//! Reading lines of a bounded length from a program that may write anything.

use std::io::BufRead;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Longest line in bytes. Of a longer one only the beginning is kept.
pub const MAX_LINE: usize = 16 << 20;
/// What is kept of a line that is too long, in bytes.
const BEGINNING: usize = 4 << 10;
const BUFFER: usize = 64 << 10;

/// One line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Bytes that the line had after this: it was longer than [`MAX_LINE`], and this is its beginning.
    pub left_out: u64,
}

/// Reads lines; never holds more than one and a buffer.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    left_out: u64,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), line: Vec::new(), left_out: 0 }
    }

    /// The next line; `None` at the end. Can be cancelled without loss.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let mut buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                return Ok((!self.line.is_empty()).then(|| self.take()));
            }
            let used = BufRead::read_until(&mut buffer, b'\n', &mut self.line)?;
            self.reader.consume(used);
            let ended = self.line.pop_if(|last| *last == b'\n').is_some();
            if self.left_out > 0 || self.line.len() > MAX_LINE {
                self.left_out += self.line.len().saturating_sub(BEGINNING) as u64;
                self.line.truncate(BEGINNING);
                self.line.shrink_to(2 * BUFFER);
            }
            if ended {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Line {
        let bytes = std::mem::take(&mut self.line);
        let text =
            String::from_utf8(bytes).unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned());
        Line { text, left_out: std::mem::take(&mut self.left_out) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn all(bytes: &[u8]) -> Vec<Line> {
        let mut reader = LineReader::new(bytes);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn splits_and_repairs() {
        let lines = all(b"one\n\ntw\xffo\nlast").await;
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "", "tw\u{fffd}o", "last"]);
        assert!(lines.iter().all(|line| line.left_out == 0));
    }

    #[tokio::test]
    async fn cuts_a_long_line_and_goes_on() {
        let mut bytes = vec![b'x'; MAX_LINE + 100_000];
        bytes.extend_from_slice(b"\nnext\n");
        let lines = all(&bytes).await;
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].text.len(), BEGINNING);
        assert_eq!(lines[0].left_out, (MAX_LINE + 100_000 - BEGINNING) as u64);
        assert_eq!(lines[1], Line { text: "next".into(), left_out: 0 });
    }

    #[tokio::test]
    async fn a_line_of_the_greatest_length_is_whole() {
        let mut bytes = vec![b'x'; MAX_LINE];
        bytes.push(b'\n');
        let lines = all(&bytes).await;
        assert_eq!((lines[0].text.len(), lines[0].left_out), (MAX_LINE, 0));
    }
}
