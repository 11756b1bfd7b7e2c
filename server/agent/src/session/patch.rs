//! Diffs of edits, and bounds on what is stored.

use serde::Deserialize;
use serde_json::Value;

/// Most bytes of one output or diff that are passed on.
pub const MAX_TEXT: usize = 256 << 10;

/// A hunk of the CLI's `structuredPatch`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Hunk {
    old_start: u64,
    old_lines: u64,
    new_start: u64,
    new_lines: u64,
    lines: Vec<String>,
}

/// A unified diff, and how many lines it adds and removes.
#[derive(Debug, PartialEq, Eq)]
pub struct Patch {
    pub diff: String,
    pub lines_changed: u64,
}

/// The diff of an edit, from the CLI's `structuredPatch`. `None` where there is none.
pub fn of_edit(path: &str, structured: &Value) -> Option<Patch> {
    let hunks: Vec<Hunk> = serde_json::from_value(structured.clone()).ok()?;
    if hunks.is_empty() {
        return None;
    }
    let mut diff = format!("--- a/{path}\n+++ b/{path}\n");
    let mut lines_changed = 0;
    for hunk in &hunks {
        let Hunk { old_start, old_lines, new_start, new_lines, lines } = hunk;
        diff.push_str(&format!("@@ -{old_start},{old_lines} +{new_start},{new_lines} @@\n"));
        for line in lines {
            lines_changed += u64::from(line.starts_with(['+', '-']));
            diff.push_str(line);
            diff.push('\n');
        }
    }
    Some(Patch { diff, lines_changed })
}

/// The diff of a file that was not there before.
pub fn of_creation(path: &str, content: &str) -> Patch {
    let lines = content.lines().count() as u64;
    let mut diff = format!("--- /dev/null\n+++ b/{path}\n");
    if lines > 0 {
        diff.push_str(&format!("@@ -0,0 +1,{lines} @@\n"));
    }
    for line in content.lines() {
        diff.push('+');
        diff.push_str(line);
        diff.push('\n');
    }
    if lines > 0 && !content.ends_with('\n') {
        diff.push_str("\\ No newline at end of file\n");
    }
    Patch { diff, lines_changed: lines }
}

/// The diff of a file that is gone.
pub fn of_deletion(path: &str, content: &str) -> Patch {
    let lines = content.lines().count() as u64;
    let mut diff = format!("--- a/{path}\n+++ /dev/null\n");
    if lines > 0 {
        diff.push_str(&format!("@@ -1,{lines} +0,0 @@\n"));
    }
    for line in content.lines() {
        diff.push('-');
        diff.push_str(line);
        diff.push('\n');
    }
    Patch { diff, lines_changed: lines }
}

/// The diff of an edit whose hunks an agent tells as text.
pub fn of_hunks(from: &str, to: &str, hunks: &str) -> Patch {
    let changed = |line: &&str| line.starts_with(['+', '-']);
    let lines_changed = hunks.lines().filter(changed).count() as u64;
    let end = if hunks.is_empty() || hunks.ends_with('\n') { "" } else { "\n" };
    Patch { diff: format!("--- a/{from}\n+++ b/{to}\n{hunks}{end}"), lines_changed }
}

/// The diff of an edit, from the file's text before and after.
pub fn of_texts(path: &str, old: &str, new: &str) -> Patch {
    let difference = similar::TextDiff::from_lines(old, new);
    let hunks = difference.unified_diff().context_radius(3).missing_newline_hint(false).to_string();
    of_hunks(path, path, &hunks)
}

/// Leaves out the middle of a text that is longer than [`MAX_TEXT`], and says how much.
pub fn cap(text: String) -> String {
    cap_to(text, MAX_TEXT)
}

/// As [`cap`], with another length.
pub fn cap_to(text: String, max: usize) -> String {
    if text.len() <= max {
        return text;
    }
    let head = text.floor_char_boundary(max / 2);
    let tail = text.ceil_char_boundary(text.len() - max / 2);
    format!("{}\n… {} bytes left out …\n{}", &text[..head], tail - head, &text[tail..])
}

/// Bounds every string in a value.
pub fn cap_value(value: &mut Value, max: usize) {
    match value {
        Value::String(text) if text.len() > max => *text = cap_to(std::mem::take(text), max),
        Value::Array(items) => items.iter_mut().for_each(|item| cap_value(item, max)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cap_value(field, max)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_edit_becomes_a_unified_diff() {
        let hunks = json!([{"oldStart":1,"oldLines":2,"newStart":1,"newLines":2,"lines":[" a","-b","+c"]}]);
        let patch = of_edit("x.txt", &hunks).unwrap();
        assert_eq!(patch.diff, "--- a/x.txt\n+++ b/x.txt\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert_eq!(patch.lines_changed, 2);
        assert_eq!(of_edit("x", &json!([])), None);
        assert_eq!(of_edit("x", &json!("no")), None);
    }

    #[test]
    fn a_creation_is_all_additions() {
        let patch = of_creation("x", "a\nb");
        assert_eq!(patch.diff, "--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n");
        assert_eq!(patch.lines_changed, 2);
        assert_eq!(of_creation("x", ""), Patch { diff: "--- /dev/null\n+++ b/x\n".into(), lines_changed: 0 });
    }

    #[test]
    fn a_deletion_is_all_removals_and_hunks_are_kept() {
        assert_eq!(of_deletion("x", "a\nb").diff, "--- a/x\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n");
        let patch = of_hunks("x", "y", "@@ -1 +1 @@\n-a\n+b");
        assert_eq!(patch.diff, "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n");
        assert_eq!(patch.lines_changed, 2);
        let patch = of_texts("x", "a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(patch.diff, "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(patch.lines_changed, 2);
    }

    #[test]
    fn long_texts_lose_their_middle() {
        let text = format!("begin{}end", "ä".repeat(MAX_TEXT));
        let capped = cap(text);
        assert!(capped.len() < MAX_TEXT + 64);
        assert!(capped.starts_with("begin") && capped.ends_with("end") && capped.contains("bytes left out"));
    }
}
