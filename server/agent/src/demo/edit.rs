//! Edits of files, with the patch that tells of them.

use std::path::Path;

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

/// An edit that was made.
#[derive(Debug)]
pub struct Edited {
    /// The `tool_use_result` that Claude Code would give.
    pub details: Value,
}

/// Replaces the first occurrence of a text in a file.
pub fn replace(path: &Path, old: &str, new: &str) -> Result<Edited, String> {
    let before = read(path)?.ok_or_else(|| format!("{} does not exist.", path.display()))?;
    if !before.contains(old) {
        return Err("String to replace not found in file.".into());
    }
    let after = before.replacen(old, new, 1);
    write(path, &after)?;
    Ok(Edited { details: changed(path, &before, &after) })
}

/// Adds text to the end of a file, which is made where it is not there.
pub fn append(path: &Path, text: &str) -> Result<Edited, String> {
    let Some(before) = read(path)? else {
        write(path, text)?;
        let details = json!({
            "type": "create", "filePath": path, "content": text, "structuredPatch": [], "originalFile": null,
        });
        return Ok(Edited { details });
    };
    let after = format!("{before}{text}");
    write(path, &after)?;
    Ok(Edited { details: changed(path, &before, &after) })
}

fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| format!("{} is no text.", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn changed(path: &Path, before: &str, after: &str) -> Value {
    let diff = TextDiff::from_lines(before, after);
    let hunks = diff.grouped_ops(3).into_iter().map(|ops| {
        let lines: Vec<String> = ops.iter().flat_map(|op| diff.iter_changes(op)).map(|change| line(&change)).collect();
        let (old, new) = match (ops.first(), ops.last()) {
            (Some(first), Some(last)) => {
                (first.old_range().start..last.old_range().end, first.new_range().start..last.new_range().end)
            }
            _ => (0..0, 0..0),
        };
        json!({
            "oldStart": old.start + 1, "oldLines": old.len(), "newStart": new.start + 1, "newLines": new.len(),
            "lines": lines,
        })
    });
    let hunks: Vec<Value> = hunks.collect();
    json!({"type": "update", "filePath": path, "structuredPatch": hunks, "originalFile": before})
}

fn line(change: &similar::Change<&str>) -> String {
    let sign = match change.tag() {
        ChangeTag::Equal => ' ',
        ChangeTag::Delete => '-',
        ChangeTag::Insert => '+',
    };
    format!("{sign}{}", change.value().trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn edits_and_tells() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        assert_eq!(append(&path, "a\nb\n").unwrap().details["type"], "create");
        let details = replace(&path, "b", "c").unwrap().details;
        assert_eq!(details["structuredPatch"][0]["lines"], json!([" a", "-b", "+c"]));
        assert!(replace(&path, "gone", "x").unwrap_err().contains("not found"));
        assert!(replace(&directory.path().join("y"), "a", "b").unwrap_err().contains("does not exist"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(append(&path, "x").is_err());
    }
}
