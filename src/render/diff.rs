//! Unified diffs in colour.

use super::{BOLD, CYAN, DIM, GREEN, Line, PLAIN, RED};

/// Colours a unified diff line by line.
pub fn diff(text: &str) -> Vec<Line> {
    let mut inside = false;
    text.lines()
        .map(|line| {
            if line.starts_with("@@") {
                inside = true;
                return hunk(line);
            }
            if line.starts_with("diff --git ") {
                inside = false;
                return Line::of(BOLD, line);
            }
            let style = match line.as_bytes().first() {
                Some(b'+') if inside => GREEN,
                Some(b'-') if inside => RED,
                Some(b'\\') => DIM,
                _ if inside => PLAIN,
                _ => BOLD,
            };
            Line::of(style, line)
        })
        .collect()
}

fn hunk(line: &str) -> Line {
    match line[2..].find("@@") {
        Some(at) => Line::of(CYAN, &line[..at + 4]).add(DIM, &line[at + 4..]),
        None => Line::of(CYAN, line),
    }
}

/// The diff of one edit, without the names of the file that its heading already says, at most `max` lines of it.
pub(super) fn edit(text: &str, max: usize) -> Vec<Line> {
    let start = text.lines().position(|line| line.starts_with("@@")).unwrap_or(0);
    let body: Vec<&str> = text.lines().skip(start).collect();
    let shown = if body.len() > max + 1 { max } else { body.len() };
    let mut lines = diff(&format!("@@\n{}", body[..shown].join("\n"))).split_off(1);
    if shown < body.len() {
        lines.push(Line::of(DIM, format!("… {} more lines", body.len() - shown)));
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::super::plain;
    use super::*;

    const TEXT: &str = "diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@ fn main\n a\n-b\n+c\n\\ No newline at end of file\n";

    #[test]
    fn lines_have_the_colour_of_their_side() {
        let painted: Vec<String> = diff(TEXT).iter().map(|line| line.paint(true).replace('\u{1b}', "^")).collect();
        insta::assert_snapshot!(painted.join("\n"), @r#"
        ^[1mdiff --git a/x b/x^[0m
        ^[1mindex 1..2 100644^[0m
        ^[1m--- a/x^[0m
        ^[1m+++ b/x^[0m
        ^[36m@@ -1,2 +1,2 @@^[0m^[2m fn main^[0m
         a
        ^[31m-b^[0m
        ^[32m+c^[0m
        ^[2m\ No newline at end of file^[0m
        "#);
    }

    #[test]
    fn the_diff_of_an_edit_is_folded() {
        assert_eq!(plain(&edit(TEXT, 2)), "@@ -1,2 +1,2 @@ fn main\n a\n… 3 more lines");
        assert_eq!(plain(&edit("+only\n", 5)), "+only");
    }
}
