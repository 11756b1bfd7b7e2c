//! Reading lines of a bounded length from a program that may write anything.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Longest line in bytes. The rest of a longer one is thrown away.
pub const MAX_LINE: usize = 16 << 20;

/// One line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the line was longer than [`MAX_LINE`] and this is its beginning.
    pub cut: bool,
}

/// Reads lines; never holds more than one and a buffer.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    cut: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(64 << 10, reader), line: Vec::new(), cut: false }
    }

    /// The next line; `None` at the end. Can be cancelled without loss.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                return Ok((!self.line.is_empty()).then(|| self.take()));
            }
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = MAX_LINE - self.line.len();
            self.cut |= part.len() > room;
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Line {
        let bytes = std::mem::take(&mut self.line);
        let text =
            String::from_utf8(bytes).unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned());
        Line { text, cut: std::mem::take(&mut self.cut) }
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
        assert!(lines.iter().all(|line| !line.cut));
    }

    #[tokio::test]
    async fn cuts_a_long_line_and_goes_on() {
        let mut bytes = vec![b'x'; MAX_LINE + 5];
        bytes.extend_from_slice(b"\nnext\n");
        let lines = all(&bytes).await;
        assert_eq!(lines.len(), 2);
        assert!(lines[0].cut);
        assert_eq!(lines[0].text.len(), MAX_LINE);
        assert_eq!(lines[1], Line { text: "next".into(), cut: false });
    }
}
