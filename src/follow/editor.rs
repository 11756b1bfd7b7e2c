//! A tool's input in the person's editor.

use cadence_protocol::Approval;

use crate::error::CommandError;

/// Lets the person change a tool's input in their editor. None where it was left as it is.
pub async fn edit(approval: &Approval) -> Result<Option<serde_json::Value>, CommandError> {
    let fail = |error: std::io::Error| CommandError::failed("the input cannot be edited").caused_by(error);
    let file = tempfile::Builder::new().prefix("cadence-").suffix(".json").tempfile().map_err(fail)?;
    let before = serde_json::to_string_pretty(&approval.input).map_err(|error| fail(error.into()))?;
    std::fs::write(file.path(), format!("{before}\n")).map_err(fail)?;
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty()))
        .unwrap_or_else(|| "vi".to_owned());
    // An editor may be given with arguments; the shell takes it apart, as git has it.
    let status = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("cadence")
        .arg(file.path())
        .status()
        .await
        .map_err(fail)?;
    if !status.success() {
        return Err(CommandError::failed(format!("the editor `{}` failed", crate::text::clean_line(&editor))));
    }
    let after = std::fs::read_to_string(file.path()).map_err(fail)?;
    if after.trim() == before.trim() {
        return Ok(None);
    }
    let value: serde_json::Value = serde_json::from_str(&after)
        .map_err(|error| CommandError::usage(format!("what was written is no JSON: {error}")))?;
    if !value.is_object() {
        return Err(CommandError::usage("a tool's input is a JSON object"));
    }
    Ok(Some(value))
}
